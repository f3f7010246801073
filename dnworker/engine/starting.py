"""Waits for workers that start: before a `fire`, never of a handler for itself, and after a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from dnworker.core.errors import UsageError
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.topology import SILENT
from dnworker.events.history import History
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker

STARTING_LIMIT = 10.0
"""Seconds that `fire` waits for workers that do not listen yet; they get the event later all the same."""

LOOK = 0.2
"""Seconds between two looks at workers that start: no change tells of a startup handler in a process."""

DEEPEST_WAIT = 100
"""Fires that may wait for each other, each from a handler of the one before."""

OnWait = Callable[[str], object]
"""Called with what `fire` waits for, as a sentence."""


class Starting(Protocol):
    """What of an engine may be about to listen."""

    def workers(self) -> list[ManagedWorker]:
        """Return all declared workers."""

    @property
    def is_reloading(self) -> bool:
        """Whether a reload is under way."""

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever one of these has changed; returns what ends it."""


async def until_listening(
    engine: Starting, kind: str, only: str | None, limit: float | None, on_wait: OnWait | None = None
) -> tuple[str, ...]:
    """Return when every worker that may hear an event listens; returns the names of those that do not yet.

    Args:
        engine: whose workers are looked at.
        kind: of the event.
        only: the qualified name of the one worker that will get it.
        limit: seconds to wait at most; never more than `STARTING_LIMIT`.
        on_wait: told once of everything that is waited for, and when the wait is interrupted.
    """
    if current_invocation.get() is not None:
        return ()  # a start, or a reload, may be waiting for the handler that runs here
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(STARTING_LIMIT, STARTING_LIMIT if limit is None else limit)
    changed = asyncio.Event()
    end = engine.listen(changed.set)
    try:
        return await _until_listening(engine, kind, only, deadline, changed, on_wait)
    except asyncio.CancelledError:
        if on_wait is not None:
            on_wait(f"{kind} was not fired")
        raise
    finally:
        end()


async def _until_listening(
    engine: Starting,
    kind: str,
    only: str | None,
    deadline: float,
    changed: asyncio.Event,
    on_wait: OnWait | None,
) -> tuple[str, ...]:
    loop, told = asyncio.get_running_loop(), set[str]()
    while True:
        changed.clear()
        starting = _starting(engine.workers(), kind, only)
        names = [worker.name for worker in starting] + ["the reload"] * engine.is_reloading
        if on_wait is not None and (new := [name for name in names if name not in told]):
            what = "to end" if new == ["the reload"] else "to start"
            on_wait(f"waiting for {', '.join(new)} {what}")
        told.update(names)
        deaf = tuple(worker.name for worker in starting if not _is_subscribed(worker))
        if not deaf and not engine.is_reloading:
            return ()
        if loop.time() >= deadline:
            return deaf
        given_up = [loop.time() + left for w in starting if (left := w.expected_within) is not None]
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min([deadline, *given_up])):
                await changed.wait()


async def until_started(engine: Starting, capability: str | None, limit: float) -> None:
    """Return when no worker starts any more, as each listens, is off or has failed; or after the limit.

    Args:
        engine: whose workers are looked at.
        capability: the only one whose workers count; None for all.
        limit: seconds to wait at most.
    """
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    deadline = loop.time() + limit
    end = engine.listen(changed.set)
    try:
        while True:
            changed.clear()
            workers = [one for one in engine.workers() if capability in (None, one.capability)]
            if loop.time() >= deadline or all(one.has_settled for one in workers):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(deadline, loop.time() + LOOK)):
                    await changed.wait()
    finally:
        end()


def _starting(workers: Iterable[ManagedWorker], kind: str, only: str | None) -> list[ManagedWorker]:
    return [w for w in workers if only in (None, w.qualified_name) and w.is_starting and w.may_hear(kind)]


def silent_notes(workers: Iterable[ManagedWorker], kind: str, only: str | None) -> tuple[str, ...]:
    """Return, for a trace, which workers get events of a kind and do not report what they do with them."""
    return tuple(
        f"{worker.name} {SILENT}: what it does with this is not known"
        for worker in workers
        if only in (None, worker.qualified_name) and worker.hears_silently(kind)
    )


def _is_subscribed(worker: ManagedWorker) -> bool:
    """Return whether events wait for a worker that starts: `fire` waits for what has them in its queue."""
    return isinstance(worker, InProcessWorker) and worker.state is WorkerState.STARTING


def check_wait(workers: Iterable[ManagedWorker], history: History, kind: str, only: str | None) -> None:
    """Check that a handler which fires and waits does not wait for the end of its own worker's start.

    Raises:
        UsageError: it would; names the worker and the ways out.
    """
    starting = {w.qualified_name for w in _starting(workers, kind, only) if _is_subscribed(w)}
    for cause in _causes(history) if starting else ():
        if cause.cause == "startup" and cause.worker in starting:
            name = cause.worker.rpartition(":")[2]
            raise UsageError(
                f"{cause.handler} is on_startup of {name}, and waits for {kind}, which {name} handles only "
                "after its startup: it would wait for itself. Fire without waiting (wait=False, --no-wait), "
                "or in a @worker.task",
                code="DN207",
            )


def _causes(history: History) -> Iterable[Invocation]:
    """Return the invocation that runs here, the one that published its event, and so on."""
    current = current_invocation.get()
    while current is not None:
        yield current
        event = current.event
        if event is None:
            return
        current = next(
            (i for i in history.invocations() if any(e.event_id == event.event_id for e in i.published)), None
        )


class Waits:
    """The fires that wait now, to end a circle of handlers of which each fires and waits for the next."""

    def __init__(self) -> None:
        self._depths: dict[str, int] = {}

    def depth_here(self, kind: str) -> int:
        """Return how many fires already wait for the handler that runs here.

        Raises:
            UsageError: too many do, so that it can only be a circle.
        """
        invocation = current_invocation.get()
        if invocation is None or invocation.event is None:
            return 0
        depth = self._depths.get(invocation.event.event_id, 0)
        if depth >= DEEPEST_WAIT:
            raise UsageError(
                f"{invocation.label} fires {kind} and waits, {DEEPEST_WAIT} fires deep: handlers fire in a "
                "circle, each waiting for the next; fire without waiting (wait=False), or end the circle",
                code="DN208",
            )
        return depth

    @contextmanager
    def waiting(self, event_id: str, depth: int) -> Iterator[None]:
        """Note that a fire waits for its event, `depth` fires deep."""
        self._depths[event_id] = depth + 1
        try:
            yield
        finally:
            del self._depths[event_id]
