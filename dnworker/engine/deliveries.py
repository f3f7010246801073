"""`Deliveries`: tells the consumer of a worker which handlers have begun and ended with its events.

It hears of them from the history, which knows the handlers of all topologies; a part of the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from dnworker.core.errors import NotFound
from dnworker.events.brokers.base import Broker, Outcome

if TYPE_CHECKING:
    from dnworker.core.invocation import Invocation


class Deliveries:
    """Says of each event what its handlers do.

    A handler that was cancelled because its worker stops has not handled the event: it comes again. One that
    somebody ended alone has: it would hang again.

    Args:
        broker: has the consumers.
        is_running: returns whether a worker runs, by its qualified name.
    """

    def __init__(self, broker: Broker, is_running: Callable[[str], bool]) -> None:
        self._broker = broker
        self._is_running = is_running

    def note(self, invocation: Invocation) -> None:
        """Note that a handler has begun or ended."""
        event = invocation.event
        if event is None or (consumer := self._broker.consumer(invocation.worker)) is None:
            return
        if invocation.outcome == "running":
            consumer.note_begin(event.event_id, invocation.handler)
            return
        error = None if invocation.error is None else invocation.error.summary
        if invocation.outcome == "cancelled":
            error = "cancelled"
            if not self._is_running(invocation.worker):
                with suppress(NotFound):  # the event of an earlier consumer, which has it still
                    consumer.release(event.event_id)
        consumer.note_end(event.event_id, Outcome(invocation.handler, error))
