"""`redeliver`: delivers the event of a dead letter again; what shows dead letters uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnworker.core.errors import Conflict
from dnworker.core.lifecycle import WorkerState
from dnworker.events.causes import published_by

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.engine.dead_letters import Summary
    from dnworker.engine.engine import Engine


async def redeliver(engine: Engine, summary: Summary) -> EventEnvelope:
    """Deliver the event of a dead letter again, to its worker alone; returns the new event.

    Its attempts count anew, and all handlers of its kind run: those that had ended well, too.

    Raises:
        NotFound: the letter is gone, or its worker.
        Conflict: the worker does not run, or listens to the kind no more, and the letter stays; or it is
            being retried already.
        Gone: its session was deleted.
        NotStored: the broker cannot keep it now.
    """
    with engine.dead_letters.retrying(summary):
        return await _redeliver(engine, summary)


async def _redeliver(engine: Engine, summary: Summary) -> EventEnvelope:
    worker, event = engine.worker(summary.worker), (await engine.dead_letters.read(summary)).event
    if worker.state is not WorkerState.RUNNING:
        raise Conflict(
            f"{summary.worker} is {worker.state}; start it, then retry its dead letters", code="DN313"
        )
    if not worker.may_hear(event.kind):
        raise Conflict(
            f"{summary.worker} listens to {event.kind} no more; add a handler, or drop the letter",
            code="DN319",
        )
    with published_by("Retried"):
        again = engine.bus.publish(
            event.kind,
            event.payload,
            session_id=event.session_id,
            turn_id=event.turn_id,
            terminal=event.terminal,
            only=summary.worker,
        )
    again = await engine.bus.accepted(again)
    await engine.dead_letters.drop(summary)
    return again
