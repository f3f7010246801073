"""Waits until all queued and running work has ended, or for steps of a stop; the engine uses it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterator
from typing import TYPE_CHECKING, Any

from dnworker.core.clock import Clock, VirtualClock, turn_loop
from dnworker.core.errors import HandlerFailed, UsageError
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.time_limits import time_limit
from dnworker.engine.watchdog import frames_of_task, running_invocation

if TYPE_CHECKING:
    from dnworker.events.history import History
    from dnworker.events.trace import Trace

log = logging.getLogger("dnworker.runtime")

VIRTUAL_STEP_LIMIT = 10.0
"""Real seconds that `advance` waits for handlers after each wake."""


LOCK_LOOK = 0.02
"""Real seconds between two looks whether what still runs only waits for a lock."""

_ACQUIRE = frozenset({asyncio.Lock.acquire.__code__, asyncio.Semaphore.acquire.__code__})
"""What waits for a lock; that of a condition is one."""


async def until_quiet(trace: Trace, history: History, timeout: float | None) -> None:
    """Return when nothing that a trace's event caused runs; marks the trace when the time is up before."""
    try:
        async with time_limit(timeout):
            await history.wait_quiet(trace.event.event_id)
    except TimeoutError:
        trace.timed_out = True


async def settle(history: History, timeout: float | None) -> None:
    """Return when no event is queued and no handler but tasks is running.

    Of what happens on other nodes, that counts which events have caused that were published here.

    Raises:
        HandlerFailed: handlers raised since the last call.
        TimeoutError: something still runs when the time is up; names it.
        UsageError: a handler calls it.
    """
    check_settle()
    try:
        async with time_limit(timeout):
            await history.wait_settled()
    except TimeoutError:
        raise TimeoutError(_still_running(history, timeout)) from None
    history.raise_failures()


def check_settle() -> None:
    """Check that it is no handler that wants to wait until no handler runs.

    Raises:
        UsageError: it is; names it and the ways out.
    """
    here = current_invocation.get()
    if here is not None and here.cause != "task" and here.outcome == "running":
        raise UsageError(
            f"{here.handler} of {here.worker.rpartition(':')[2]} calls settle, which returns when no handler "
            "runs: it would wait for itself. Await what the handler itself has started, or call settle in a "
            "cell, a test or a @worker.task",
            code="DN207",
        )


def _still_running(history: History, timeout: float | None) -> str:
    """Return what still runs, and what failed; the failures count as raised then."""
    elsewhere = history.elsewhere
    running = [
        i.label if not i.is_elsewhere else f"{i.label} on {i.node}"
        for i in history.invocations()
        if i.outcome == "running"
        and i.cause != "task"
        and (not i.is_elsewhere or (elsewhere is not None and elsewhere.counts(i)))
    ]
    text = f"still running after {timeout:g} s: {', '.join(running) or 'queued events'}"
    try:
        history.raise_failures()
    except HandlerFailed as failed:
        text += f"; and {failed}"
    return text


async def settle_step(history: History, clock: Clock) -> None:
    """Let what a step of a virtual clock woke run to its end; gives up after `VIRTUAL_STEP_LIMIT`.

    It does not wait for handlers that wait for a lock while all others are asleep: who has it goes on only
    when time moves. A task that no handler awaits may have it, too, and gets `LOCK_LOOK` seconds.
    """
    await turn_loop()
    try:
        async with time_limit(VIRTUAL_STEP_LIMIT):
            asleep = clock.asleep if isinstance(clock, VirtualClock) else Counter()
            while not await _is_idle_within(LOCK_LOOK, history, asleep):
                if asleep and history.is_idle({*asleep, *_waiting_for_locks()}):
                    break
    except TimeoutError:
        log.warning("handlers are still running after %g real seconds; time moves on", VIRTUAL_STEP_LIMIT)
    await turn_loop()


async def _is_idle_within(seconds: float, history: History, asleep: Container[Invocation]) -> bool:
    try:
        async with time_limit(seconds):
            await history.wait_idle(asleep)
    except TimeoutError:
        return False
    return True


def _waiting_for_locks() -> Iterator[Invocation]:
    """Yield the invocations whose own task waits for a lock, a semaphore or a condition of asyncio.

    A task that has just got its lock has still to go on: it waits no more.
    """
    for task in asyncio.all_tasks():
        awaited: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", None)
        if awaited is None or awaited.done():
            continue
        frames = list(frames_of_task(task))
        if not frames or frames[-1].f_code not in _ACQUIRE:
            continue
        if (found := next(filter(None, map(running_invocation, frames)), None)) is not None:
            yield found


class Bound:
    """A time limit for several steps that are taken one after the other.

    Args:
        seconds: for all of them; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.is_exceeded = False
        """Whether a step was left behind."""
        self._deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds

    @property
    def left(self) -> float | None:
        """The seconds that are left, 0 where the time is up; None for no limit."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    async def run(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step; when the time is up it is left behind, and goes on by itself.

        Raises:
            Exception: whatever the step raises in time.
        """
        if self._deadline is None:
            await step()
            return
        task = asyncio.ensure_future(step())
        left = self._deadline - asyncio.get_running_loop().time()
        await asyncio.wait({task}, timeout=max(left, 0.05))  # the later ones are begun at least
        if task.done():
            task.result()
        else:
            self.is_exceeded = True
            task.add_done_callback(_log_failure)


def _log_failure(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        log.error("what was left behind by a stop failed: %s: %s", type(exc).__name__, exc)
