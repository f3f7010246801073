"""`ProcessRestarts`: starts a worker's process again after it failed, by the runtime's restart policy.

A `SubprocessWorker` has one; without a policy it does nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from dnworker.core.clock import Clock
from dnworker.core.restarts import RestartCount, RestartPolicy


class ProcessRestarts:
    """The restarts of one worker process, of which at most one waits.

    Args:
        policy: of the runtime; None for no restarts.
        clock: what runs and waits are measured by.
        start_again: starts the process; called in a task of its own, which `cancel` ends.
        label: of the worker, for the name of that task.
    """

    def __init__(
        self,
        policy: RestartPolicy | None,
        clock: Clock,
        start_again: Callable[[], Coroutine[Any, Any, None]],
        label: str,
    ) -> None:
        self.note: str | None = None
        """What came of the last failure, as part of the worker's error text."""
        self._count = None if policy is None else RestartCount(policy)
        self._clock = clock
        self._start_again = start_again
        self._label = label
        self._began = clock.monotonic()
        self._due = self._delay = 0.0
        self._waiting: asyncio.Task[None] | None = None

    @property
    def due_in(self) -> float | None:
        """In how many seconds it starts again; None if it does not."""
        return None if self._waiting is None else max(0.0, self._due - self._clock.monotonic())

    @property
    def detail(self) -> str | None:
        """When it starts again, as text: `restarts in 4 s (2 of 5)`; None if it does not."""
        if self._count is None or (due_in := self.due_in) is None:
            return None
        return f"restarts in {round(due_in)} s ({self._count.count} of {self._count.policy.max_restarts})"

    @property
    def why(self) -> str:
        """Why the process is started by itself: `Restart 3 of 5, 8 s after it failed`."""
        if self._count is None:
            return "Restart after it failed"
        number, most = self._count.count, self._count.policy.max_restarts
        return f"Restart {number} of {most}, {self._delay:g} s after it failed"

    def began(self) -> None:
        """Note that the process runs."""
        self._began = self._clock.monotonic()

    def failed(self) -> None:
        """Note that the process failed, and wait to start it again, or give up."""
        if self._count is None:
            return
        now, policy = self._clock.monotonic(), self._count.policy
        delay = self._count.failed(now - self._began)
        if delay is None:
            self.note = f"given up after {policy.budget} of running"
            return
        self.note = f"restarts after {delay:g} s ({self._count.count} of {policy.max_restarts})"
        self._due, self._delay = now + delay, delay
        # An empty context: the restart is not part of what the worker's runner was started by.
        self._waiting = asyncio.create_task(
            self._wait(delay), name=f"{self._label} restart", context=contextvars.Context()
        )

    async def _wait(self, delay: float) -> None:
        await self._clock.sleep(delay)
        await self._start_again()

    def cancel(self) -> bool:
        """Start it again no more; returns whether a restart was waiting."""
        waiting, self._waiting, self.note = self._waiting, None, None
        if waiting is not None and waiting is not asyncio.current_task():
            waiting.cancel()
        return waiting is not None

    def reset(self) -> None:
        """Do the same, and count from nothing: somebody starts it by hand."""
        self.cancel()
        if self._count is not None:
            self._count.reset()
