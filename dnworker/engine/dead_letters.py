"""`DeadLetters`: events that a worker could not handle, with their errors, until somebody takes care of them.

The broker's key-value store keeps them; a part of the engine. `retries.py` adds them; magics, the command
line, the API and the panel show them, have them delivered again, and drop them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec

from dnworker.core.envelope import EventEnvelope, decode, encode
from dnworker.core.errors import BrokerError, Conflict, NotFound, NotStored
from dnworker.core.handler_error import HandlerError
from dnworker.core.listeners import Listeners
from dnworker.core.task_ends import end_tasks
from dnworker.events.brokers.base import Broker

log = logging.getLogger("dnworker.retries")

MOST_LETTERS = 10_000
MOST_BYTES = 100_000_000
"""Dead letters that are kept, and bytes of them; the oldest goes with a warning."""

SHORTEST_ID = 4
"""Digits of an id that are enough to name a letter by, where no other begins so."""

_PREFIX = "dead/"


class DeadHandler(msgspec.Struct, frozen=True):
    """One handler that is not tried again."""

    handler: str
    error: HandlerError
    """What it raised at the last attempt, with its frames."""
    attempts: int
    at: datetime
    """When it failed last."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that handlers of a worker could not handle."""

    worker: str
    raw: msgspec.Raw = msgspec.field(name="event")
    handlers: tuple[DeadHandler, ...]
    why: str
    """`exhausted`, or `not retried` for an error that the policy does not name."""

    @property
    def event(self) -> EventEnvelope:
        """The event, whole."""
        return decode(bytes(self.raw))


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of dead letters shows of one."""

    id: str
    """That of the event."""
    worker: str
    seq: int
    kind: str
    session_id: str | None
    handlers: tuple[str, ...]
    error: str
    """What the last handler raised, and where."""
    attempts: int
    why: str
    published_at: datetime
    failed_at: datetime
    size: int


Key = tuple[str, str]
"""The worker and the id of the event."""


class DeadLetters:
    """Keeps dead letters, bounded, and finds them by the id of the event and by worker."""

    def __init__(self) -> None:
        self._broker: Broker
        self._index: dict[Key, Summary] = {}
        self._writing: dict[Key, asyncio.Task[None]] = {}
        self._retried: set[Key] = set()
        self._bytes = 0
        self._loading: asyncio.Task[None] | None = None
        self._is_unread = False
        self._of_event: dict[str, dict[Key, Summary]] = {}
        self.changed: Listeners[[str]] = Listeners()
        """Called with the id of the event when one has come or gone."""

    def __len__(self) -> int:
        return len(self._index)

    # -- what is kept ----------------------------------------------------------------------------------

    def open(self, broker: Broker) -> None:
        """Read what a broker keeps, in a task of its own; called at a start."""
        self._broker, self._index, self._bytes, self._of_event = broker, {}, 0, {}
        self._begin_loading()

    async def close(self) -> None:
        """Return when all is written; the broker is still open."""
        while self._writing:
            await asyncio.wait(self._writing.values())
        loading, self._loading = self._loading, None
        if loading is not None:
            await end_tasks(loading)

    async def ready(self) -> None:
        """Return when all is known that the broker keeps, and what has come is written.

        Raises:
            BrokerError: it cannot be read.
        """
        loading = self._loading
        if loading is not None:
            if loading.done() and loading.exception() is not None:  # the disk may be well again
                loading = self._begin_loading()
            await asyncio.shield(loading)
        while self._writing:
            await asyncio.wait(self._writing.values())

    def _begin_loading(self) -> asyncio.Task[None]:
        self._loading = asyncio.create_task(self._load(), name="dead letters")
        return self._loading

    async def _load(self) -> None:
        found: dict[Key, Summary] = {}
        try:
            for name in await self._broker.keys(_PREFIX):
                entry = await self._broker.get(name)
                if entry is not None and (letter := _read(name, entry.value)) is not None:
                    found[letter.worker, letter.event.event_id] = _summary(letter, len(entry.value))
        except Exception as exc:
            if not self._is_unread:  # metrics try again at each scrape, and would fill the log
                log.error(
                    "the dead letters of earlier runs are not known; list tries to read them again: %s", exc
                )
            self._is_unread = True
            raise
        self._is_unread = False
        present, self._index, self._bytes, self._of_event = self._index, {}, 0, {}
        for key, summary in (found | present).items():
            self._note(key, summary)
            self.changed.notify(summary.id)

    def add(
        self,
        worker: str,
        event: EventEnvelope,
        failed: DeadHandler,
        why: str,
        on_kept: Callable[[BaseException | None], object],
    ) -> None:
        """Keep an event; `on_kept` is called once it is, or with why it could not be.

        A letter of the same event and worker that is there gets the handler, too.
        """
        key = worker, event.event_id
        before = self._writing.get(key)
        task = asyncio.create_task(
            self._write(key, event, failed, why, on_kept, before), name=f"{worker} dead letter"
        )
        self._writing[key] = task
        task.add_done_callback(lambda _: self._writing.pop(key) if self._writing.get(key) is task else None)

    async def _write(
        self,
        key: Key,
        event: EventEnvelope,
        failed: DeadHandler,
        why: str,
        on_kept: Callable[[BaseException | None], object],
        before: asyncio.Task[None] | None,
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        worker, event_id = key
        try:
            name = _name(worker, event.seq, event_id)
            there = await self._broker.get(name)
            present = None if there is None else _read(name, there.value)
            others = () if present is None else present.handlers
            handlers = (*(one for one in others if one.handler != failed.handler), failed)
            letter = DeadLetter(worker=worker, raw=msgspec.Raw(encode(event)), handlers=handlers, why=why)
            value = msgspec.json.encode(letter)
            await self._broker.put(name, value)
        except Exception as exc:  # such as a full disk: whoever gave it decides what becomes of the event
            log.error("the dead letter of %s (%s) could not be kept: %s", event_id, worker, exc)
            on_kept(exc)
            return
        self._note(key, _summary(letter, len(value)))
        on_kept(None)
        self.changed.notify(event_id)
        await self._shrink()

    def _note(self, key: Key, summary: Summary) -> None:
        self._forget(key)
        self._index[key] = self._of_event.setdefault(summary.id, {})[key] = summary
        self._bytes += summary.size

    def _forget(self, key: Key) -> None:
        if (gone := self._index.pop(key, None)) is not None:
            self._bytes -= gone.size
            of_event = self._of_event[gone.id]
            del of_event[key]
            if not of_event:
                del self._of_event[gone.id]

    async def _shrink(self) -> None:
        while len(self._index) > MOST_LETTERS or (self._bytes > MOST_BYTES and len(self._index) > 1):
            key, oldest = next(iter(self._index.items()))
            self._forget(key)
            log.warning(
                "the dead letter of %s #%d (%s) is dropped: there are more than %s; retry or drop some",
                oldest.kind,
                oldest.seq,
                oldest.worker,
                f"{MOST_LETTERS:,}" if len(self._index) >= MOST_LETTERS else f"{MOST_BYTES:,} bytes",
            )
            try:
                await self._broker.delete(_name(oldest.worker, oldest.seq, oldest.id))
            except (BrokerError, NotStored) as exc:
                log.error(
                    "the dead letter of %s (%s) could not be dropped, and is back at the next start: %s",
                    oldest.id,
                    oldest.worker,
                    exc,
                )

    # -- what is asked ---------------------------------------------------------------------------------

    def all(self, worker: str | None = None) -> list[Summary]:
        """Return the letters, of all workers or of one, the newest first."""
        return [one for one in reversed(self._index.values()) if worker in (None, one.worker)]

    def of_event(self, event_id: str) -> list[Summary]:
        """Return the letters of an event, one a worker, the oldest first."""
        return [*self._of_event.get(event_id, {}).values()]

    def find(self, name: str, worker: str | None = None) -> Summary:
        """Return a letter by the id of its event, its beginning, its `seq`, or `#seq`.

        Raises:
            NotFound: there is none, or several; says what to do.
        """
        matching = [one for one in self.all(worker) if _is_named(one, name)]
        if len(matching) == 1:
            return matching[0]
        whose = "" if worker is None else f" of {worker}"
        if matching:
            workers = ", ".join(sorted({one.worker for one in matching}))
            raise NotFound(
                f"{len(matching)} dead letters{whose} are named {name}, of {workers}; "
                "give more digits, or name the worker with --worker",
                code="DN319",
            )
        raise NotFound(
            f"there is no dead letter {name}{whose}: it was retried or dropped, or was never one; "
            "list shows those there are",
            code="DN319",
        )

    async def read(self, summary: Summary) -> DeadLetter:
        """Return a letter whole.

        Raises:
            NotFound: it has gone meanwhile.
            BrokerError: it cannot be read.
        """
        entry = await self._broker.get(_name(summary.worker, summary.seq, summary.id))
        if entry is None:
            raise NotFound(
                f"the dead letter {summary.id} of {summary.worker} is gone; list shows those there are",
                code="DN319",
            )
        letter: DeadLetter = _decoder.decode(entry.value)
        return letter

    @contextmanager
    def retrying(self, summary: Summary) -> Iterator[None]:
        """Let a letter be retried once at a time.

        Raises:
            Conflict: it is being retried already.
        """
        key = summary.worker, summary.id
        if key in self._retried:
            raise Conflict(
                f"the dead letter {summary.id} of {summary.worker} is being retried already; "
                "list shows whether it is back",
                code="DN319",
            )
        self._retried.add(key)
        try:
            yield
        finally:
            self._retried.discard(key)

    async def drop(self, summary: Summary) -> None:
        """Forget a letter; one that has gone already is no error.

        Raises:
            BrokerError: it cannot be written.
        """
        await self._broker.delete(_name(summary.worker, summary.seq, summary.id))
        self._forget((summary.worker, summary.id))
        self.changed.notify(summary.id)

    async def put_back(self, letter: DeadLetter) -> None:
        """Keep a letter again that was dropped.

        Raises:
            BrokerError: it cannot be written.
        """
        event, value = letter.event, msgspec.json.encode(letter)
        await self._broker.put(_name(letter.worker, event.seq, event.event_id), value)
        self._note((letter.worker, event.event_id), _summary(letter, len(value)))
        self.changed.notify(event.event_id)


def heading(one: Summary) -> str:
    """Return a dead letter as one line."""
    tries = f"{one.attempts} attempt{'s' if one.attempts != 1 else ''}"
    who = f"{one.worker} ({', '.join(one.handlers)})"
    return f"#{one.seq}  {one.id[:8]}  {one.kind}  {who}  {one.why} after {tries}: {one.error}"


_decoder = msgspec.json.Decoder(DeadLetter)


def _read(name: str, value: bytes) -> DeadLetter | None:
    """Return the letter of a key; None, and a line in the log, where it cannot be read."""
    try:
        letter: DeadLetter = _decoder.decode(value)
        _summary(letter, len(value))
    except Exception as exc:  # whatever is in the file: it must not take the other letters along
        log.error("the dead letter %s cannot be read, and is left out: %s", name, exc)
        return None
    return letter


def _name(worker: str, seq: int, event_id: str) -> str:
    """Return the key of a letter; keys in order are letters by the age of their events."""
    return f"{_PREFIX}{seq:020d}/{event_id}/{worker}"


def _is_named(one: Summary, name: str) -> bool:
    return name in (one.id, f"#{one.seq}", str(one.seq)) or (
        len(name) >= SHORTEST_ID and one.id.startswith(name)
    )


def _summary(letter: DeadLetter, size: int) -> Summary:
    event, last = letter.event, letter.handlers[-1]
    return Summary(
        id=event.event_id,
        worker=letter.worker,
        seq=event.seq,
        kind=event.kind,
        session_id=event.session_id,
        handlers=tuple(one.handler for one in letter.handlers),
        error=str(last.error),
        attempts=last.attempts,
        why=letter.why,
        published_at=event.timestamp,
        failed_at=last.at,
        size=size,
    )
