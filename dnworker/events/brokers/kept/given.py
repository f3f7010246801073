"""`GivenEvents`: the events that a worker was given, and what became of them."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dnworker.core.clock import Clock
from dnworker.core.envelope import EventEnvelope, without_payload
from dnworker.core.errors import NotFound
from dnworker.core.listeners import Listeners
from dnworker.events.brokers.base import Outcome, Outlet
from dnworker.events.brokers.kept.cursors import Cursor, Outstanding
from dnworker.events.brokers.kept.delays import Delays
from dnworker.events.brokers.kept.pages import Page, Stored
from dnworker.events.brokers.left_events import LeftEvents

REMEMBERED = 1_000
"""Events that were handled last and may still be given back; they are kept without their payloads."""


class Desk(Protocol):
    """What a consumer needs of its broker."""

    outlet: Outlet
    clock: Clock
    left: Listeners[[LeftEvents]]

    @property
    def delivered_seq(self) -> int:
        """The `seq` of the newest event that the outlet has got."""

    @property
    def latest_seq(self) -> int:
        """The `seq` of the newest event that was published."""

    def seq_of(self, start: int) -> int:
        """Return the `seq` after which a worker begins."""

    async def page(
        self, kinds: dict[str | None, int], after: int, upto: int, *, most: int, max_bytes: int, worker: str
    ) -> Page:
        """Return the next events of some kinds, each since its own `seq`, after one up to another.

        Raises:
            BrokerError: they cannot be read now.
        """

    async def by_seq(self, numbers: Sequence[int]) -> list[Stored]:
        """Return those events of some numbers that are kept and that a worker may get, in that order.

        Raises:
            BrokerError: they cannot be read now.
        """

    async def dropped_to(self) -> int:
        """Return the `seq` up to which events may be gone, as too old or too many; 0 where none is.

        Raises:
            BrokerError: it cannot be read now.
        """

    def mark(self, cursor: Cursor) -> None:
        """Write a cursor soon."""

    def write(self, *cursors: Cursor) -> asyncio.Future[None]:
        """Write cursors before what is published from now on; returns when they are on disk."""


@dataclass(slots=True, eq=False)
class Given:
    """An event that the worker has, or is next to get."""

    envelope: EventEnvelope
    size: int
    number: int
    ended: list[str]
    is_out_of_order: bool = False
    """Whether it comes again after later ones, and says nothing of how far the worker is."""
    is_taken: bool = False
    was_handed_out: bool = False
    running: dict[str, int] = field(default_factory=dict)
    delay: float | None = None
    """After how many seconds it comes again, once no handler of it runs; None where it was not given back."""
    noted: Outstanding | None = None
    """What is noted of it, kept from one note to the next; None where that has changed since."""

    @property
    def seq(self) -> int:
        return self.envelope.seq


class GivenEvents:
    """What a worker has of its events: queued, taken, or given back for some time."""

    def __init__(self, desk: Desk, cursor: Cursor) -> None:
        self.owner: str | None = cursor.worker
        self._desk = desk
        self._cursor = cursor
        self._closed = False
        # What is not handled, by `seq` and by id; and what is, but may be given back.
        self._open: dict[int, Given] = {}
        self._by_id: dict[str, Given] = {}
        self._handled: OrderedDict[str, Given] = OrderedDict()
        # What comes again: how often it was given, and when that is.
        self._taken_before = cursor.taken_to
        self._aside = dict(cursor.outstanding)
        self._noted_for = cursor.kinds
        self._delayed: set[int] = set()
        self._delays = Delays(desk.clock, self._come_due)

    def later(self) -> Counter[str]:
        """Return none: what comes again is kept."""
        return Counter()

    async def get_ready(self) -> None:
        """Return when it is known where it begins."""

    def _give(self, envelope: EventEnvelope, size: int) -> Given:
        """Make an event one that the worker is given."""
        seq = envelope.seq
        before = self._aside.pop(seq, None)
        if before is None:
            was_given = self._cursor.may_have_been_given(envelope.kind, seq, self._taken_before)
            before = Outstanding(int(was_given))
        given = Given(envelope, size, before.deliveries + 1, before.ended)
        self._open[seq] = self._by_id[envelope.event_id] = given
        return given

    # -- what becomes of them --------------------------------------------------------------------------

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return an event that the worker has; None where it has not got it, or has handled it."""
        given = self._by_id.get(event_id)
        return None if given is None else given.envelope

    def number(self, envelope: EventEnvelope) -> int:
        """Return how often the worker was given the event by now, this time included: 1 for the first."""
        given = self._by_id.get(envelope.event_id) or self._handled.get(envelope.event_id)
        return 1 if given is None else given.number

    def handled_by(self, event_id: str) -> Collection[str]:
        """Return the handlers that have ended well with an event, also when it was given the last time."""
        given = self._by_id.get(event_id)
        return () if given is None else given.ended

    def note_begin(self, event_id: str, handler: str) -> None:
        """Note that a handler has begun with an event."""
        if (given := self._by_id.get(event_id)) is not None:
            given.running[handler] = given.running.get(handler, 0) + 1

    def note_end(self, event_id: str, outcome: Outcome) -> None:
        """Note that it has ended: an error is an end, too."""
        given = self._by_id.get(event_id)
        if given is None or (running := given.running.pop(outcome.handler, 0)) == 0:
            return  # of an event that has been given back meanwhile
        if running > 1:
            given.running[outcome.handler] = running - 1
        if outcome.error is None and outcome.handler not in given.ended:
            given.ended, given.noted = [*given.ended, outcome.handler], None
        self._settle(given)

    def handed_out(self, event_id: str) -> None:
        """Note that no further handler will begin with the event."""
        if (given := self._by_id.get(event_id)) is not None:
            given.was_handed_out = True
            self._settle(given)

    def release(self, event_id: str, delay: float = 0.0) -> None:
        """Give an event back: it comes again `delay` seconds after the last of its handlers has ended.

        Raises:
            NotFound: the worker does not have it, and has not handled it just now.
        """
        given = self._by_id.get(event_id) or self._handled.pop(event_id, None)
        if given is None or not given.is_taken:
            raise NotFound(
                f"{self.owner} does not have the event {event_id}; only what it has can be given back",
                code="DN209",
            )
        given.delay = delay
        if not given.running:
            self._set_aside(given, delay)

    def note_progress(self, event_id: str) -> None:
        """Do nothing: an event is the worker's until that ends."""

    def _settle(self, given: Given) -> None:
        """Take note of an event whose last handler may have ended."""
        if given.running:
            self._desk.mark(self._cursor)
        elif given.delay is not None:
            self._set_aside(given, given.delay)
        elif given.was_handed_out:
            self._forget(given)
            given.envelope = without_payload(given.envelope)
            self._handled[given.envelope.event_id] = given
            if len(self._handled) > REMEMBERED:
                self._handled.popitem(last=False)

    def _forget(self, given: Given) -> None:
        self._by_id.pop(given.envelope.event_id, None)
        self._open.pop(given.seq, None)
        if self._cursor.last is self:
            if self._closed:
                self._cursor.outstanding.pop(given.seq, None)
            self._desk.mark(self._cursor)

    def _set_aside(self, given: Given, delay: float) -> None:
        """Have an event come again after a delay."""
        self._forget(given)
        when = self._desk.clock.now().timestamp() + delay if delay > 0 else None
        entry, seq = self._entry(given, given.number, when), given.seq
        if self._closed:
            if self._cursor.last is self:
                self._cursor.outstanding[seq] = entry
            return
        self._aside[seq] = entry
        if when is None:
            self._come_due(seq)
        else:
            self._delayed.add(seq)
            self._delays.add(when, seq)

    def _come_due(self, seq: int) -> None:
        """Have an event again whose delay is over."""
        raise NotImplementedError

    def _outstanding(self, handled_to: int) -> dict[int, Outstanding]:
        """Return what is not handled though all up to a `seq` is, and what was given more than once."""
        if self._noted_for is not self._cursor.kinds:
            self._noted_for = self._cursor.kinds
            for given in self._open.values():
                given.noted = None
        found = dict(self._aside)
        for seq, given in self._open.items():
            noted = given.noted  # made once: tens of thousands may be in flight
            if noted is None:
                noted = given.noted = self._entry(given, given.number)
            if seq <= handled_to or noted.is_passed or noted.deliveries > 1 or noted.ended:
                found[seq] = noted
        return found

    def _entry(self, given: Given, number: int, when: float | None = None) -> Outstanding:
        """Return what is noted of an event that the worker was given so often."""
        is_passed = not self._cursor.wants(given.envelope.kind, given.seq)
        return Outstanding(number, when, given.ended, is_passed)
