"""Fires events at the workers of a notebook, each from a fresh start and in a runtime of its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dnworker import Runtime, Worker, shadow
from dnworker.invocation import current as current_invocation
from dnworker_jupyter.export.observing import observe

if TYPE_CHECKING:
    from dnworker.events import EventEnvelope
    from dnworker_jupyter.export.observing import Observation, Tell
    from dnworker_jupyter.registration import LiveWorker


async def rehearse(
    workers: Sequence[LiveWorker], capability: str, events: Sequence[EventEnvelope], tell: Tell
) -> list[Observation]:
    """Return what the workers' present handlers do with events; the live workers, and their state, stay.

    The handlers run for real, their startup, tasks and schedules too: what one opens by itself is opened.
    """
    async with Runtime(port=None) as runtime:
        for number, live in enumerate(workers):
            tell(f"starting {live.name} once more, for the comparison", number, len(workers))
            await runtime.add(apart(live.make_shadow()), capability=capability)
        return await observe(runtime, events, tell)


def apart(worker: Worker) -> Worker:
    """Have the handlers of a shadow know it as `worker`, and say nothing in the notebook."""

    def wrapped(handler: Any) -> Any:
        @functools.wraps(handler)
        async def run(*args: Any) -> Any:
            shadow.current.set(worker)
            if (invocation := current_invocation.get()) is not None:
                invocation.muted = True
            return await handler(*args)

        return run

    worker._startup_handlers[:] = map(wrapped, worker._startup_handlers)
    worker._shutdown_handlers[:] = map(wrapped, worker._shutdown_handlers)
    worker._task_handlers[:] = map(wrapped, worker._task_handlers)
    worker._every_handlers[:] = [(spec, wrapped(handler)) for spec, handler in worker._every_handlers]
    for handlers in worker._event_handlers.values():
        handlers[:] = map(wrapped, handlers)
    return worker
