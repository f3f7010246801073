"""Says in a cell what a start waits for, once that takes long; used by `transactions` and `%worker`."""

from __future__ import annotations

import contextvars
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dnworker.core.lifecycle import WorkerState
from dnworker.core.locations import location_of
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker_jupyter.live.worker import LiveWorker

PATIENCE = 3.0
"""Seconds that a start takes before somebody is told what it waits for."""

POLL = 0.2


def waiting_for(managed: ManagedWorker | None) -> tuple[str, float] | None:
    """Return what a worker that starts or stops waits for, and since when, in seconds since 1970.

    May be called on any thread. None where nothing is waited for.
    """
    if managed is None:
        return None
    at = managed.transitions[-1].at.timestamp()
    if isinstance(managed, InProcessWorker) and (starting := managed.starting) is not None:
        return f"on_startup {starting.handler.key.name}{_place(starting.handler.function)}", starting.since
    if managed.state is WorkerState.STOPPING:
        return "what its handlers have under way, and its on_shutdown, to end", at
    if isinstance(managed, SubprocessWorker) and managed.state is WorkerState.RUNNING:
        output = managed.detail()["process"]["recent_output"][-1:]
        said = f", which said last: {output[0][:200]}" if output else ""
        return f"its process, {managed.topology_label}, to start{said}", at
    return None


@contextmanager
def notice(name: str, managed: Callable[[], ManagedWorker | None], then: Callable[[], str]) -> Iterator[None]:
    """While the body runs, print what the worker waits for when that takes over 3 s.

    A thread does it: a startup handler may hold the loop.

    Args:
        name: of the worker.
        managed: returns what starts, as it is now.
        then: returns what an interrupt leads to, beginning with a comma; empty where nothing runs then.
    """
    ended = threading.Event()

    def watch() -> None:
        begun, said = time.time(), ""
        while not ended.wait(POLL):
            found = waiting_for(managed())
            if found is None:
                continue
            text, since = found
            what = text.partition(", which said")[0]  # new output is no news
            if what != said and time.time() - (since if said else begun) >= PATIENCE:
                said = what
                at = time.strftime("%H:%M:%S", time.localtime(since))
                print(  # noqa: T201  this is the cell's output
                    f"{name} waits for {text}, since {at}; Ctrl-C stops it{then()}", flush=True
                )

    # In the context of the cell: that is how the kernel knows whose output it is.
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(watch,), name=f"notice {name}", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def notice_of(live: LiveWorker) -> Iterator[None]:
    """Print, as `notice` does, what a worker of cells waits for, and which generation an interrupt leaves."""
    before, number = live.managed, live.generation
    did_run = live.state_now is WorkerState.RUNNING

    def then() -> str:
        if not did_run:
            return ""
        untouched = live.managed is before and live.state_now is WorkerState.RUNNING
        return f", and generation {number} {'runs on' if untouched else 'is started again'}"

    with notice(live.name, lambda: live.managed, then):
        yield


def _place(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({location_of(code.co_filename, code.co_firstlineno)})" if code is not None else ""
