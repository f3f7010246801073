"""`Delivery`: copies of another runtime's events on this bus, and which handlers still run for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from dnworker.core.envelope import EventEnvelope, size_of
from dnworker.core.errors import ApiError
from dnworker.core.invocation import Invocation
from dnworker.core.listeners import Listeners
from dnworker.events.causes import published_by

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

MOST_WAITING, MOST_BYTES = 10_000, 64_000_000
"""Events, and bytes of them, that may wait for slow handlers."""


class Delivery:
    """Publishes copies for the workers here, and counts those whose handlers have not ended.

    Args:
        engine: whose workers get them.
        source: where they come from, as the history and traces name it.
        miss: called with the `seq` before and after an event that could not be delivered, and why.
    """

    def __init__(self, engine: Engine, source: str, miss: Callable[[int, int | None, str], object]) -> None:
        self._engine = engine
        self._source = source
        self._miss = miss
        # What waits for handlers: the seq there and the size of each copy, by its id.
        self._waiting: dict[str, tuple[int, int]] = {}
        self._bytes = 0
        self._less = asyncio.Event()
        self.ended: Listeners[[str]] = Listeners()
        """Called with the id of a copy when its handlers have ended."""
        self._ends = [
            engine.history.listen(self._note_run),
            engine.bus.refused.add(self._note_refused),
        ]

    @property
    def waiting(self) -> int:
        """How many copies have handlers that have not ended."""
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether more may wait."""
        return len(self._waiting) < MOST_WAITING and self._bytes < MOST_BYTES

    async def room(self) -> None:
        """Return at once where there is room, else as soon as half of it is free."""
        if self.has_room:
            return
        while len(self._waiting) > MOST_WAITING // 2 or self._bytes > MOST_BYTES // 2:
            self._less.clear()
            await self._less.wait()

    async def idle(self) -> None:
        """Return when the handlers of all copies have ended."""
        while self._waiting:
            self._less.clear()
            await self._less.wait()

    async def deliver(self, envelope: EventEnvelope, via: tuple[str, ...]) -> EventEnvelope | None:
        """Publish a copy and return it; None where it cannot be published, which is noted as a gap.

        Args:
            envelope: of the other runtime.
            via: the ids of the runtimes by which it has come, that one's last.
        """
        bus = self._engine.bus
        try:
            if bus.pressure:
                await bus.pressure.room(envelope.kind, envelope.session_id)
            with published_by(f"{self._source} #{envelope.seq}", via):
                copy = bus.publish(
                    envelope.kind,
                    envelope.payload,
                    session_id=envelope.session_id,
                    turn_id=envelope.turn_id,
                    terminal=envelope.terminal,
                )
        except ApiError as exc:
            self._miss(
                envelope.seq - 1, envelope.seq + 1, f"this {envelope.kind} cannot be taken over: {exc}"
            )
            return None
        if not self._is_done(copy.event_id):
            size = size_of(envelope)
            self._waiting[copy.event_id] = envelope.seq, size
            self._bytes += size
        return copy

    def is_waiting(self, event_id: str) -> bool:
        """Return whether handlers of a copy have not ended."""
        return event_id in self._waiting

    def sweep(self) -> None:
        """Notice copies that nothing handles any more, though no run of a handler has ended.

        A worker that fails lets go of its queue, and one of a durable broker acknowledges after its handlers.
        """
        for event_id in [*self._waiting]:
            if self._is_done(event_id):
                self._end(event_id)

    def running(self) -> list[Invocation]:
        """Return the invocations that run for copies, or for what those have caused."""
        return [
            one
            for one in self._engine.history.running()
            if one.event is not None and one.event.event_id in self._waiting
        ]

    def close(self) -> None:
        """Hear no more of handlers, and forget what waits."""
        for end in self._ends:
            end()
        self._waiting.clear()
        self._bytes = 0
        self._less.set()

    def _note_run(self, invocation: Invocation) -> None:
        event = invocation.event
        if event is None or event.event_id not in self._waiting or invocation.outcome == "running":
            return
        if self._is_done(event.event_id):
            self._end(event.event_id)

    def _is_done(self, event_id: str) -> bool:
        history = self._engine.history
        return event_id not in history.queued() and all(
            one.outcome != "running" for one in history.invocations_of(event_id)
        )

    def _note_refused(self, envelope: EventEnvelope, exc: BaseException) -> None:
        if (waiting := self._waiting.get(envelope.event_id)) is not None:
            self._miss(waiting[0] - 1, waiting[0] + 1, f"this {envelope.kind} could not be kept here: {exc}")
            self._end(envelope.event_id)

    def _end(self, event_id: str) -> None:
        _, size = self._waiting.pop(event_id)
        self._bytes -= size
        self._less.set()
        self.ended.notify(event_id)
