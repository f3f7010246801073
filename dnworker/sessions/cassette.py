"""`Cassette`: a file of what agents were asked and what they answered, which answers in their place later.

`Agents.record` writes one, `Agents.replay` reads it. Keys are never in it: what is recorded are messages, and
in these the values of variables whose names say that they are secret are replaced.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnworker.core.errors import Invalid
from dnworker.core.masking import is_secret
from dnworker.core.short_values import short_value
from dnworker.sessions.cassette_file import (
    LARGEST,
    CassetteFile,
    Entry,
    Full,
    Request,
    check,
    key_of,
    read_whole,
)
from dnworker.sessions.turn import TurnFailure

log = logging.getLogger("dnworker.agents")

SHORTEST_SECRET = 8
"""Characters of a value that is replaced in texts: shorter ones are words."""


class Cassette:
    """The entries of one file; use `to_record` or `to_replay`.

    Entries that ask the same are answered in the order of their recording, and then from the first again.
    """

    def __init__(self, path: Path, entries: list[Entry] | None = None) -> None:
        self.path = path
        self.is_replay = entries is not None
        self.entries = entries or []
        """Those to answer with; of a recording none."""
        self._by_request: dict[str, list[Entry]] = {}
        for entry in self.entries:
            self._by_request.setdefault(key_of(entry.request), []).append(entry)
        self._given: dict[str, int] = {}
        """How many answers to each request were given."""
        self._secrets = set[str]()
        # recording
        self._file = CassetteFile(path)
        self._waiting: list[Entry] = []
        """What could not be written yet."""
        self._waiting_bytes = 0
        self._writing = asyncio.Lock()
        self._tasks = set[asyncio.Task[None]]()
        self._has_failed = False
        self._is_full = False

    @classmethod
    def to_record(cls, path: str | os.PathLike[str]) -> Cassette:
        """Open a file to add to; what is asked again replaces what was recorded of it.

        Raises:
            Invalid: it is there and no such file, or cannot be written.
        """
        made = cls(Path(path))
        try:
            made._file.begin()
        except OSError as exc:
            raise Invalid(made._failed(exc), code="DN994") from exc
        except Full:
            raise Invalid(
                f"cassette {path} is full: at most {LARGEST:,} bytes are written; name another file",
                code="DN994",
            ) from None
        return made

    @classmethod
    def to_replay(cls, path: str | os.PathLike[str]) -> Cassette:
        """Open a file whose answers are given.

        Raises:
            Invalid: it is not there, or no such file.
        """
        return cls(Path(path), read_whole(Path(path)))

    @property
    def model(self) -> str | None:
        """The first model that was asked; None where only scripts were."""
        return next((str(e.request["model"]) for e in self.entries if "model" in e.request), None)

    def hide(self, secret: str | None) -> None:
        """Keep a text, such as a key, out of what is recorded from now on."""
        if secret and len(secret) >= SHORTEST_SECRET:
            self._secrets.add(secret)

    async def record(self, request: Request, answer: dict[str, Any]) -> None:
        """Write an entry; where that is not possible, the log says so once, and the turn goes on."""
        if self._is_full:
            return
        try:
            entry = Entry(request=self._hidden(request), answer=self._hidden(answer))
            size = check(entry)
        except (TypeError, ValueError, RecursionError) as exc:
            log.error("cassette %s: an answer is not recorded, it is no JSON: %s (DN994)", self.path, exc)
            return
        self._waiting.append(entry)
        self._waiting_bytes += size
        writing = asyncio.create_task(self._write_waiting(), name="a cassette is written")
        self._tasks.add(writing)
        writing.add_done_callback(self._tasks.discard)
        await asyncio.shield(writing)  # a turn that is cancelled now is written, and once

    async def _write_waiting(self) -> None:
        async with self._writing:
            if self._waiting and not self._is_full:
                await self._write()

    async def _write(self) -> None:
        """Write what waits; the log says what cannot be written."""
        entries, size = list(self._waiting), self._waiting_bytes
        try:
            if size > LARGEST:
                raise Full
            await asyncio.to_thread(self._file.add, entries)
        except Full:
            self._is_full, self._waiting = True, []
            log.error(
                "cassette %s is full: at most %s bytes are written. Nothing more is recorded, what is there "
                "stays, and turns go on; record into another file: %%%%agent NAME --record FILE (DN994)",
                self.path,
                f"{LARGEST:,}",
            )
        except (OSError, Invalid) as exc:
            if not self._has_failed:
                text = self._failed(exc) if isinstance(exc, OSError) else str(exc)
                log.error("%s; the next answer is tried again, with all that were not written", text)
            self._has_failed = True
        else:
            del self._waiting[: len(entries)]
            self._waiting_bytes -= size
            self._has_failed = False

    def _failed(self, exc: OSError) -> str:
        return f"cassette {self.path} cannot be written: {exc.strerror or exc}"

    def answer(self, agent: str, request: Request) -> dict[str, Any]:
        """Return the recorded answer to a request.

        Raises:
            TurnFailure: nobody asked this when it was recorded; names the nearest request and what differs.
        """
        request = self._hidden(request)
        key = key_of(request)
        same = self._by_request.get(key)
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
            return value if value.isascii() else value.encode(errors="replace").decode()  # half a character
        case dict():
            return {name: _without(item, texts) for name, item in value.items()}
        case list():
            return [_without(item, texts) for item in value]
    return value


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
