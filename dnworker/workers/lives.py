"""`Lives`: what is kept of each worker over restarts, reloads and new objects of its name, for the panel.

A managed worker has a `Life`. It is bounded, and costs nothing while nothing changes.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from pathlib import Path

import msgspec

from dnworker.capability.reading import read_bytes
from dnworker.core.errors import DnworkerError
from dnworker.core.invocation import Invocation
from dnworker.core.lifecycle import RECORD_KEPT, Transition

WORKERS_KEPT = 5_000
"""Names of workers whose lives are kept; of more, those go first that have not started for longest."""

SOURCES = frozenset(
    {".py", ".js", ".mjs", ".cjs", ".ts", ".mts", ".sh", ".bash", ".rb", ".pl", ".lua", ".php", ".r"}
)
"""Ends of the names of files that are kept and shown as the code of a process."""

VERSIONS_KEPT = 20
LONGEST_CODE = 200_000
"""Bytes of a file that are kept as a version; of a larger one it is kept that it changed."""

CODE_KEPT = 16_000_000
"""Bytes of all versions. Beyond them, those lose their text that were replaced longest ago, then those of who
has not started for longest."""

FAILURES_KEPT = 120
FAILURE_STEP = 15
"""Failed calls are counted by so many seconds: 120 of these are 30 minutes."""


class Version(msgspec.Struct):
    """One text of a worker's file, as it was read at a start."""

    number: int
    at: float
    """When it was read first, in seconds since 1970."""
    why: str
    name: str
    """The file's name."""
    text: str | None
    """None where it was too large, or is kept no longer."""
    mark: int
    """The hash of what was read: the same text is the same version."""


class Life(msgspec.Struct):
    """What is kept of one worker."""

    transitions: deque[Transition] = msgspec.field(default_factory=lambda: deque(maxlen=RECORD_KEPT))
    """The steps of all that has run under its name, oldest first."""
    versions: deque[Version] = msgspec.field(default_factory=lambda: deque(maxlen=VERSIONS_KEPT))
    """The texts of its file, oldest first; none for a worker that is read from no file."""
    failures: deque[list[int]] = msgspec.field(default_factory=lambda: deque(maxlen=FAILURES_KEPT))
    """Failed calls: the number of the 15 seconds since 1970, and how many."""

    def note_failure(self, now: float) -> None:
        """Count a failed call; `now` is in seconds since 1970."""
        step = int(now // FAILURE_STEP)
        if self.failures and self.failures[-1][0] == step:
            self.failures[-1][1] += 1
        else:
            self.failures.append([step, 1])


class Lives:
    """The lives of all workers of a runtime, by their qualified names."""

    def __init__(self) -> None:
        self._lives: OrderedDict[str, Life] = OrderedDict()
        self._bytes = 0
        # the versions that have a text, by their id: those that were replaced, longest ago first, and the
        # newest of each life, the one that has not started for longest first
        self._replaced: OrderedDict[int, Version] = OrderedDict()
        self._newest: OrderedDict[int, Version] = OrderedDict()

    def of(self, worker: str) -> Life:
        """Return the life of a worker, new for a new name."""
        found = self._lives.get(worker)
        if found is None:
            found = self._lives[worker] = Life()
            while len(self._lives) > WORKERS_KEPT:
                _, gone = self._lives.popitem(last=False)
                for version in gone.versions:
                    self._forget_text(version)
        return found

    def keep(self, worker: str, life: Life) -> None:
        """Keep a life under the name that its worker has now, as it starts."""
        if (before := self._lives.get(worker)) is not None and before is not life:
            for version in before.versions:
                self._forget_text(version)
        self._lives[worker] = life
        self._lives.move_to_end(worker)

    def rename(self, former: str, name: str) -> None:
        """Keep the lives of a capability's workers under its new name."""
        for worker in [one for one in self._lives if one.startswith(f"{former}:")]:
            self.keep(name + worker.removeprefix(former), self._lives.pop(worker))

    def note_failure(self, invocation: Invocation) -> None:
        """Count a failed call of its worker."""
        if (life := self._lives.get(invocation.worker)) is not None:
            life.note_failure(time.time())

    def note_code(self, life: Life, path: Path, why: str | None) -> None:
        """Note the text of a worker's file as it starts, where it is not that of the start before."""
        try:
            data = read_bytes(path, LONGEST_CODE * 10)
        except (OSError, ValueError, DnworkerError):
            return  # the start fails by it, and says so
        mark, known = hash(data), life.versions
        if known and (known[-1].mark, known[-1].name) == (mark, path.name):
            if id(known[-1]) in self._newest:
                self._newest.move_to_end(id(known[-1]))
            return
        is_text = len(data) <= LONGEST_CODE and b"\0" not in data
        text = data.decode(errors="replace") if is_text else None
        if len(known) == VERSIONS_KEPT:
            self._forget_text(known[0])
        if known and self._newest.pop(id(known[-1]), None) is not None:
            self._replaced[id(known[-1])] = known[-1]
        number = known[-1].number + 1 if known else 1
        known.append(Version(number, time.time(), why or "", path.name, text, mark))
        if text:
            self._bytes += len(text)
            self._newest[id(known[-1])] = known[-1]
        self._shrink()

    def _shrink(self) -> None:
        while self._bytes > CODE_KEPT:
            self._forget_text(next(iter((self._replaced or self._newest).values())))

    def _forget_text(self, version: Version) -> None:
        self._bytes -= len(version.text or "")
        version.text = None
        self._replaced.pop(id(version), None)
        self._newest.pop(id(version), None)
