"""`Abandoned`: counts what comes for streams that were given up and forgotten; a `WorkerQueue` has one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.events.bus import EventBus

NAMED = 256
"""Forgotten streams whose clients are told what they have lost, should they come back."""

KINDS_COUNTED = 10_000
"""Kinds of forgotten streams; beyond, those that were forgotten first are counted no longer."""


class _Forgotten(msgspec.Struct):
    """A stream that was given up, and how many events it has lost."""

    kinds: frozenset[str] | None
    lost: int


class Abandoned:
    """The kinds of the streams of one process that broke, and that are too many to be waited for.

    What is published of them is lost, unless another stream of the process gets it.

    Args:
        bus: where events come from.
        owner: the worker.
        is_taken: returns whether a stream of the process gets an event of a kind.
        lose: is told of each event that none gets, by its id.
    """

    def __init__(
        self, bus: EventBus, owner: str, is_taken: Callable[[str], bool], lose: Callable[[str], object]
    ) -> None:
        # What the bus asks of a subscriber.
        self.kinds: frozenset[str] | None = frozenset()
        self.session_id: str | None = None
        self.owner: str | None = owner
        self.goes_by_seq = True
        # Whose events they were, and which of these no stream has taken since.
        self._streams: dict[tuple[str, frozenset[str] | None], _Forgotten] = {}
        self._lost_kinds: dict[str, None] = {}
        self._loses_all = False
        self._bus = bus
        self._is_taken = is_taken
        self._lose = lose

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Count an event; called by the bus."""
        kind = envelope.kind
        for stream in self._streams.values():
            if stream.kinds is None or kind in stream.kinds:
                stream.lost += 1
        if (self._loses_all or kind in self._lost_kinds) and not self._is_taken(kind):
            self._lose(envelope.event_id)
        return False

    def add(self, name: str | None, kinds: frozenset[str] | None, lost: int) -> None:
        """Count what comes for a stream that is forgotten and has lost so many events."""
        if name is not None:
            self._streams[name, kinds] = _Forgotten(kinds, lost)
            if len(self._streams) > NAMED:
                del self._streams[next(iter(self._streams))]
        if kinds is None:
            self._loses_all = True
        else:
            self._lost_kinds |= dict.fromkeys(kinds)
            while len(self._lost_kinds) > KINDS_COUNTED:
                del self._lost_kinds[next(iter(self._lost_kinds))]
        self._listen()

    def take_back(self, name: str | None, kinds: frozenset[str] | None) -> int | None:
        """Return how many events a stream has lost whose client is back; None if it was not forgotten.

        From now on a stream takes these kinds; should that one go, the process wants them no longer.
        """
        if self.kinds == frozenset():
            return None
        known = None if name is None else self._streams.pop((name, kinds), None)
        if kinds is None:
            self._loses_all = False
            self._lost_kinds.clear()
        for kind in kinds or ():
            self._lost_kinds.pop(kind, None)
        self._listen()
        return None if known is None else known.lost

    def close(self) -> None:
        """Count nothing more."""
        self._streams.clear()
        self._lost_kinds.clear()
        self._loses_all = False
        self._listen()

    def _listen(self) -> None:
        told = [stream.kinds for stream in self._streams.values()]
        every = self._loses_all or None in told
        kinds = None if every else frozenset(self._lost_kinds).union(*filter(None, told))
        if kinds != self.kinds:
            self._bus.forget(self)
            self.kinds = kinds
            self._bus.remember(self)
