"""Waits until all queued and running work has ended; the engine's `fire`, `settle` and `advance` use it."""

from __future__ import annotations

import asyncio
import logging

from dnworker.core.clock import Clock, VirtualClock, turn_loop
from dnworker.core.errors import HandlerFailed
from dnworker.events.history import History
from dnworker.events.trace import Trace

log = logging.getLogger("dnworker.runtime")

VIRTUAL_STEP_LIMIT = 10.0
"""Real seconds that `advance` waits for handlers after each wake."""


async def until_quiet(trace: Trace, history: History, timeout: float | None) -> None:
    """Return when nothing that a trace's event caused runs; marks the trace when the time is up before."""
    try:
        async with asyncio.timeout(timeout):
            await history.wait_quiet(trace.event.event_id)
    except TimeoutError:
        trace.timed_out = True


async def settle(history: History, timeout: float | None) -> None:
    """Return when no event is queued and no handler but tasks is running.

    Raises:
        HandlerFailed: handlers raised since the last call.
        TimeoutError: something still runs when the time is up; names it.
    """
    try:
        async with asyncio.timeout(timeout):
            await history.wait_idle()
    except TimeoutError:
        raise TimeoutError(_still_running(history, timeout)) from None
    history.raise_failures()


def _still_running(history: History, timeout: float | None) -> str:
    """Return what still runs, and what failed; the failures count as raised then."""
    running = [i.label for i in history.invocations() if i.outcome == "running" and i.cause != "task"]
    text = f"still running after {timeout:g} s: {', '.join(running) or 'queued events'}"
    try:
        history.raise_failures()
    except HandlerFailed as failed:
        text += f"; and {failed}"
    return text


async def settle_step(history: History, clock: Clock) -> None:
    """Let what a step of a virtual clock woke run to its end; gives up after `VIRTUAL_STEP_LIMIT`."""
    await turn_loop()
    try:
        async with asyncio.timeout(VIRTUAL_STEP_LIMIT):
            asleep = clock.asleep if isinstance(clock, VirtualClock) else ()
            await history.wait_idle(asleep)
    except TimeoutError:
        log.warning("handlers are still running after %g real seconds; time moves on", VIRTUAL_STEP_LIMIT)
    await turn_loop()
