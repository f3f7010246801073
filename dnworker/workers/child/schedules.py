"""Begins a run of every schedule at the start; `observe.py` uses it for the check of an export."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any


def starter(handlers: list[Any]) -> Any:
    """Return a startup handler that begins a run of each: few schedules are due while a check runs."""
    scheduled: set[asyncio.Task[Any]] = set()

    def end(task: asyncio.Task[Any]) -> None:
        scheduled.discard(task)
        if not task.cancelled():
            task.exception()  # it is reported already

    async def run_schedules(client: Any) -> None:
        for handler in handlers:
            context = contextvars.Context()  # that of this startup says whose run it is
            task = asyncio.create_task(context.run(handler, client), context=context)
            scheduled.add(task)
            task.add_done_callback(end)

    return run_schedules
