"""`Cassette`: a file of what agents were asked and what they answered, which answers in their place later.

`Agents.record` writes one, `Agents.replay` reads it. Keys are never in it: what is recorded are messages, and
in these the values of variables whose names say that they are secret are replaced.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dnworker.core.errors import Invalid
from dnworker.core.files import write_atomically
from dnworker.core.masking import is_secret
from dnworker.core.short_values import short_value
from dnworker.sessions.turn import TurnFailure

log = logging.getLogger("dnworker.agents")

FORMAT = 1
"""Written into each file; a later version reads earlier ones."""

LARGEST = 50_000_000
"""Bytes of a file that is read."""

SHORTEST_SECRET = 8
"""Characters of a value that is replaced in texts: shorter ones are words."""

Request = dict[str, Any]
"""What was asked, as JSON; two are the same where all of it is."""


class Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One request and what came of it.

    Attributes:
        request: of a script the `message`; of a model `model`, `messages`, `tools`, `parameters`, `output`.
        answer: what came, as JSON; for a turn that failed `failure` with `type` and `message`.
    """

    request: Request
    answer: dict[str, Any]


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    cassette: int
    entries: list[Entry]


class Cassette(msgspec.Struct):
    """The entries of one file; use `to_record` or `to_replay`.

    Entries that ask the same are answered in the order of their recording, and then from the first again.
    """

    path: Path
    is_replay: bool
    entries: list[Entry] = msgspec.field(default_factory=list)
    _earlier: list[Entry] = msgspec.field(default_factory=list)
    """Those of earlier recordings, until the same is asked again."""
    _written: Counter[str] = msgspec.field(default_factory=Counter)
    """The entries of ours that are in the file: others there are of somebody who records into it, too."""
    _given: dict[str, int] = msgspec.field(default_factory=dict)
    """How many answers to each request were given."""
    _secrets: set[str] = msgspec.field(default_factory=set)
    _writing: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    _has_failed: bool = False

    @classmethod
    def to_record(cls, path: str | os.PathLike[str]) -> Cassette:
        """Open a file to add to; what is asked again replaces what was recorded of it.

        Raises:
            Invalid: it is there and no such file, or cannot be written.
        """
        file = Path(path)
        made = cls(file, is_replay=False)
        made._write(begins=True)
        return made

    @classmethod
    def to_replay(cls, path: str | os.PathLike[str]) -> Cassette:
        """Open a file whose answers are given.

        Raises:
            Invalid: it is not there, or no such file.
        """
        return cls(Path(path), is_replay=True, entries=_read(Path(path)))

    @property
    def model(self) -> str | None:
        """The first model that was asked; None where only scripts were."""
        return next((str(e.request["model"]) for e in self.entries if "model" in e.request), None)

    def hide(self, secret: str | None) -> None:
        """Keep a text, such as a key, out of what is recorded from now on."""
        if secret and len(secret) >= SHORTEST_SECRET:
            self._secrets.add(secret)

    async def record(self, request: Request, answer: dict[str, Any]) -> None:
        """Add an entry, and write the file; where that fails, the log says so once, and the turn goes on."""
        entry = Entry(request=self._hidden(request), answer=self._hidden(answer))
        asked = _key(entry.request)
        self._earlier = [one for one in self._earlier if _key(one.request) != asked]
        self.entries.append(entry)
        async with self._writing:
            try:
                await asyncio.to_thread(self._write)
                self._has_failed = False
            except Invalid as exc:
                if not self._has_failed:
                    log.error("%s; the next answer is tried again, with all that were not written", exc)
                self._has_failed = True

    def answer(self, agent: str, request: Request) -> dict[str, Any]:
        """Return the recorded answer to a request.

        Raises:
            TurnFailure: nobody asked this when it was recorded; names the nearest request and what differs.
        """
        request = self._hidden(request)
        key = _key(request)
        same = [entry for entry in self.entries if _key(entry.request) == key]
        if not same:
            raise TurnFailure(
                f"{self.path} has no answer to what agent {agent!r} is asked: {self._nearest(request)}; "
                f"record it: %%agent {agent} --record {self.path} (DN993)",
                "NotRecorded",
            )
        number = self._given[key] = self._given.get(key, 0) + 1
        return same[(number - 1) % len(same)].answer

    # -- what is asked ---------------------------------------------------------------------------------

    def _nearest(self, request: Request) -> str:
        """Return in words how the request differs from the recorded one that is nearest."""
        if not self.entries:
            return "nothing was recorded"
        nearest = min((list(_differences(entry.request, request)) for entry in self.entries), key=len)
        return f"the nearest that was recorded differs in {nearest[0]}"

    def _hidden(self, value: Any) -> Any:
        """Return a JSON value in whose texts secrets that are known are replaced."""
        texts = self._secrets | set(_secrets_of_environment())
        return _without(value, sorted(texts, key=len, reverse=True))

    # -- the file --------------------------------------------------------------------------------------

    def _write(self, *, begins: bool = False) -> None:
        """Write the file, with what others have added to it since; what is there at the beginning is earlier.

        Raises:
            Invalid: it is something else by now, or cannot be written.
        """
        try:
            directory = Path(os.path.realpath(self.path)).parent
            directory.mkdir(parents=True, exist_ok=True)
            with _held(directory):
                there = _read(self.path) if self.path.exists() else []
                if begins:
                    self._earlier = there
                ours = [*self._earlier, *self.entries]
                others = [] if begins else _without_ours(there, self._written)
                entries = [msgspec.to_builtins(one) for one in [*self._earlier, *others, *self.entries]]
                text = json.dumps({"cassette": FORMAT, "entries": entries}, indent=1, ensure_ascii=False)
                write_atomically(self.path, f"{text}\n", mode=0o644)
                self._written = Counter(map(_text_of, ours))
        except OSError as exc:
            raise Invalid(
                f"cassette {self.path} cannot be written: {exc.strerror or exc}", code="DN994"
            ) from exc


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Let nobody else write a cassette of a directory meanwhile: the lock is on that, and leaves no file.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as exc:  # a file system without locks: one records at a time there, as mostly
            log.debug("%s cannot be locked: %s", directory, exc)
        yield
    finally:
        os.close(descriptor)


def _without_ours(there: list[Entry], written: Counter[str]) -> list[Entry]:
    """Return the entries of a file that somebody else has written."""
    left, found = Counter(written), []
    for entry in there:
        if left[text := _text_of(entry)]:
            left[text] -= 1
        else:
            found.append(entry)
    return found


def _text_of(entry: Entry) -> str:
    return json.dumps(msgspec.to_builtins(entry), sort_keys=True)


def _read(path: Path) -> list[Entry]:
    """Return the entries of a file.

    Raises:
        Invalid: it cannot be read, or is something else; names the place.
    """
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise Invalid(f"cassette {path} has {size:,} bytes; at most {LARGEST:,} are read", code="DN994")
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as exc:
        way_out = "; record one: %%agent NAME --record FILE" if isinstance(exc, FileNotFoundError) else ""
        raise Invalid(
            f"cassette {path} cannot be read: {exc.strerror or exc}{way_out}", code="DN994"
        ) from exc
    except msgspec.MsgspecError as exc:
        raise Invalid(f"{path} is no cassette: {exc}", code="DN994") from exc
    if found.cassette > FORMAT:
        raise Invalid(
            f"cassette {path} was written by a later version of dnworker: it is of format {found.cassette}, "
            f"and this one knows {FORMAT}; update",
            code="DN994",
        )
    return found.entries


def _secrets_of_environment() -> Iterator[str]:
    """Yield the values of variables whose names say that they are secret."""
    for name, value in os.environ.items():
        if is_secret(name) and len(value) >= SHORTEST_SECRET:
            yield value


def _without(value: Any, texts: list[str]) -> Any:
    """Return a JSON value in which texts are replaced wherever they stand in another text."""
    match value:
        case str():
            for text in texts:
                value = value.replace(text, "***")
            return value
        case dict():
            return {name: _without(item, texts) for name, item in value.items()}
        case list():
            return [_without(item, texts) for item in value]
    return value


def _key(request: Request) -> str:
    """Return a text that two requests have in common where they ask the same."""
    return json.dumps(request, sort_keys=True)


_NOTHING: Any = object()


def _differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """Yield in words where two JSON values differ; at least one where their keys differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*before, *now]):
            where = f"{place}.{name}" if place else name
            yield from _differences(before.get(name, _NOTHING), now.get(name, _NOTHING), where)
    elif isinstance(before, list) and isinstance(now, list):
        for number in range(max(len(before), len(now))):
            old = before[number] if number < len(before) else _NOTHING
            new = now[number] if number < len(now) else _NOTHING
            yield from _differences(old, new, f"{place}[{number}]")
    elif before != now or type(before) is not type(now):
        yield f"{place}: {_shown(now)} instead of {_shown(before)}"


def _shown(value: Any) -> str:
    return "nothing" if value is _NOTHING else short_value(value)
