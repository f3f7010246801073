"""`Worker`: the class that worker scripts create; a `HandlerRegistry` that can also run as a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnworker.core.schedule import ScheduleSpec
from dnworker.workers.registry import HandlerRegistry

if TYPE_CHECKING:
    import asyncio

__all__ = ["ScheduleSpec", "Worker"]


class Worker(HandlerRegistry):
    """A long-running background component: handlers for events and schedules, tasks, and state.

    The decorators return the function unchanged, so a handler can be called and tested by itself.

    Args:
        name: lower-case letters, digits and dashes. May be left out when a manifest names the worker.

    Raises:
        ValueError: the name breaks the rule.
    """

    def run(self) -> None:
        """Run this worker as a process of its own until SIGTERM or SIGINT (contract 1.4)."""
        from dnworker.workers.standalone import run

        run(self)

    async def arun(self) -> None:
        """Run this worker on the current loop until SIGTERM or SIGINT."""
        from dnworker.workers.standalone import arun

        await arun(self)

    async def _run_until(self, stop_event: asyncio.Event) -> None:
        """Run the whole lifecycle until `stop_event` is set; no process-wide side effects.

        Raises:
            ValueError: the worker has no name.
            RuntimeError: the runtime cannot be reached, or the worker went to `error`.
        """
        from dnworker.workers.standalone import run_until

        await run_until(self, stop_event)
