"""`end_tasks`: cancels tasks until they have ended, at the end of the part that began them.

One `cancel` is not always enough: a client of a server may swallow it (nats-py does where it sends), and
until Python 3.12 so does `asyncio.wait_for` where its result comes at the same moment. Who waits for the task
would wait for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from dnworker.core.errors import DnworkerError

log = logging.getLogger("dnworker")

CANCEL_AGAIN = 0.1
"""Seconds after which a task that goes on is cancelled again."""

END_WITHIN = 5.0
"""Seconds after which a task that goes on is left behind, and said to be."""


async def end_tasks(*tasks: asyncio.Task[Any] | None, within: float = END_WITHIN) -> None:
    """Cancel tasks, again and again, and return when they have ended; raises nothing of theirs.

    What a task has failed with is said in the log, as is one that does not end.

    Args:
        tasks: which; None and the task that calls this are passed over.
        within: seconds to wait for them, by the machine's clock.
    """
    loop, here = asyncio.get_running_loop(), asyncio.current_task()
    wanted = [task for task in tasks if task is not None and task is not here]
    ends_at, under_way = loop.time() + within, {*wanted}
    while under_way and loop.time() < ends_at:
        for task in under_way:
            task.cancel()
        _, under_way = await asyncio.wait(under_way, timeout=CANCEL_AGAIN)
    for task in under_way:
        log.error("%s was cancelled, has not ended within %g s, and is left behind", task.get_name(), within)
    _say_failures(task for task in wanted if task.done())


def _say_failures(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        if task.cancelled() or (failure := task.exception()) is None:
            continue
        if isinstance(failure, OSError | DnworkerError):  # what it needed was away, as at many ends
            log.info("%s ended with: %s", task.get_name(), failure or type(failure).__name__)
        else:
            log.error("%s has failed", task.get_name(), exc_info=failure)
