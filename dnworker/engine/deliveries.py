"""`Deliveries`: tells the consumer of a worker which handlers have begun and ended with its events.

It hears of them from the history, which knows the handlers of all topologies; a part of the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from dnworker.core.errors import NotFound
from dnworker.events.brokers.base import Consumer, Outcome

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation
    from dnworker.engine.retries import Retries
    from dnworker.events.bus import EventBus
    from dnworker.events.history import History

LEAVING_SECONDS = 15.0
"""Seconds after which a process that has cancelled a handler would have ended, if that was why."""

CallLater = Callable[[float, Callable[[], object]], object]


class Deliveries:
    """Says of each event what its handlers do.

    A handler that was cancelled because its worker stops has not handled the event: it comes again. One that
    somebody ended alone has: it would hang again. A process whose handlers are cancelled may be about to end
    though nobody here has asked for that: which of the two it is shows a little later.

    Args:
        bus: whose broker has the consumers.
        history: knows the handlers.
        is_running: returns whether a worker runs, by its qualified name.
        retries: decides about what has failed.
        call_later: calls back after so many seconds; that of the loop that runs by default.
    """

    def __init__(
        self,
        bus: EventBus,
        history: History,
        is_running: Callable[[str], bool],
        retries: Retries,
        call_later: CallLater | None = None,
    ) -> None:
        self._bus = bus
        self._history = history
        self._is_running = is_running
        self._retries = retries
        self._call_later = call_later
        self._end: Callable[[], None] | None = None
        self._is_open = False
        self._consumers: dict[Invocation, Consumer] = {}
        """Those of the handlers that run: what gave them their events."""
        retries.changed.add(self._listen)

    def open(self) -> None:
        """Listen to the history, where anybody wants that; called at each start of the runtime."""
        self._is_open = True
        self._retries.open()
        self._listen()

    def _listen(self) -> None:
        is_wanted = self._bus.broker.capabilities.redelivers or len(self._retries) > 0
        if self._is_open and is_wanted and self._end is None:
            self._end = self._history.listen(self.note)

    def close(self) -> None:
        """Listen no more."""
        self._is_open = False
        self._consumers.clear()
        end, self._end = self._end, None
        if end is not None:
            end()

    def note(self, invocation: Invocation) -> None:
        """Note that a handler has begun or ended."""
        event = invocation.event
        if event is None:
            return
        present = self._bus.broker.consumer(invocation.worker)
        if invocation.outcome == "running":
            if present is not None:
                self._consumers[invocation] = present
                present.note_begin(event.event_id, invocation.handler)
                self._retries.note_begin(invocation, event.event_id)
        elif (consumer := self._consumers.pop(invocation, None)) is not None:
            self._note_end(consumer, present, invocation, event)

    def _note_end(
        self, consumer: Consumer, present: Consumer | None, invocation: Invocation, event: EventEnvelope
    ) -> None:
        """Note to the consumer that gave the event that its handler has ended; it may be closed."""
        if invocation.outcome == "cancelled":
            if self._is_running(invocation.worker) and invocation.remote_id is not None:
                call_later = self._call_later or asyncio.get_running_loop().call_later
                call_later(LEAVING_SECONDS, partial(self._note_cancelled, consumer, invocation))
            else:
                self._note_cancelled(consumer, invocation)
        elif (error := invocation.error) is None:
            consumer.note_end(event.event_id, Outcome(invocation.handler))
        elif self._is_superseded(consumer, present) or not self._retries.note_failure(
            consumer, invocation, event, error
        ):
            consumer.note_end(event.event_id, Outcome(invocation.handler, error.summary))

    def _is_superseded(self, consumer: Consumer, present: Consumer | None) -> bool:
        """Return whether a later consumer has what another has not handled: what comes of it counts there."""
        return self._bus.broker.capabilities.redelivers and present not in (None, consumer)

    def _note_cancelled(self, consumer: Consumer, invocation: Invocation) -> None:
        """Note that a handler was cancelled; alone, if its worker runs on."""
        event, present = invocation.event, self._bus.broker.consumer(invocation.worker)
        if event is None or present is not consumer:
            return  # it was closed with what is not handled
        if not self._is_running(invocation.worker):
            with suppress(NotFound):  # the event of an earlier consumer, which has it still
                consumer.release(event.event_id)
        consumer.note_end(event.event_id, Outcome(invocation.handler, "cancelled"))
