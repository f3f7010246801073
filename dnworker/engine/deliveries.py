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
from dnworker.events.brokers.base import Broker, Consumer, Outcome

if TYPE_CHECKING:
    from dnworker.core.invocation import Invocation

LEAVING_SECONDS = 15.0
"""Seconds after which a process that has cancelled a handler would have ended, if that was why."""

CallLater = Callable[[float, Callable[[], object]], object]


class Deliveries:
    """Says of each event what its handlers do.

    A handler that was cancelled because its worker stops has not handled the event: it comes again. One that
    somebody ended alone has: it would hang again. A process whose handlers are cancelled may be about to end
    though nobody here has asked for that: which of the two it is shows a little later.

    Args:
        broker: has the consumers.
        is_running: returns whether a worker runs, by its qualified name.
        call_later: calls back after so many seconds; that of the loop that runs by default.
    """

    def __init__(
        self, broker: Broker, is_running: Callable[[str], bool], call_later: CallLater | None = None
    ) -> None:
        self._broker = broker
        self._is_running = is_running
        self._call_later = call_later or asyncio.get_running_loop().call_later

    def note(self, invocation: Invocation) -> None:
        """Note that a handler has begun or ended."""
        event = invocation.event
        if event is None or (consumer := self._broker.consumer(invocation.worker)) is None:
            return
        if invocation.outcome == "running":
            consumer.note_begin(event.event_id, invocation.handler)
            return
        if invocation.outcome != "cancelled":
            error = None if invocation.error is None else invocation.error.summary
            consumer.note_end(event.event_id, Outcome(invocation.handler, error))
        elif self._is_running(invocation.worker) and invocation.remote_id is not None:
            self._call_later(LEAVING_SECONDS, partial(self._note_cancelled, consumer, invocation))
        else:
            self._note_cancelled(consumer, invocation)

    def _note_cancelled(self, consumer: Consumer, invocation: Invocation) -> None:
        """Note that a handler was cancelled; alone, if its worker runs on."""
        if (event := invocation.event) is None or self._broker.consumer(invocation.worker) is not consumer:
            return  # it was closed with what is not handled
        if not self._is_running(invocation.worker):
            with suppress(NotFound):  # the event of an earlier consumer, which has it still
                consumer.release(event.event_id)
        consumer.note_end(event.event_id, Outcome(invocation.handler, "cancelled"))
