"""Brings a managed worker up in the place of another, and takes that back; used by `LiveWorker`."""

from __future__ import annotations

import contextlib

from dnworker.core.errors import Conflict, WorkerFailed
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.engine import Engine
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker_jupyter.live.generations import Generation
from dnworker_jupyter.live.outcomes import why_not_up
from dnworker_jupyter.live.processes import ProcessWorker, until_up


async def bring_up(
    engine: Engine, managed: InProcessWorker | ProcessWorker, generation: Generation, *, starts: bool
) -> None:
    """List a worker in place of any other of its name, and return when it is up; else only list it.

    Raises:
        WorkerFailed: it did not come up.
        Conflict: the runtime stops, or a loaded capability runs in its place.
    """
    await engine.capabilities.adopt(managed, start=starts)
    if managed.state is WorkerState.ERROR:
        raise WorkerFailed(why_not_up(managed, generation))
    if isinstance(managed, ProcessWorker) and managed.state is WorkerState.RUNNING:
        await until_up(managed)


async def take_back(
    engine: Engine, managed: ManagedWorker, listed: ManagedWorker | None, *, did_run: bool
) -> None:
    """Stop what did not come up, and list again what was `listed` before, if anything."""
    if listed is None:
        await engine.capabilities.remove(managed)
        return
    await managed.stop()
    with contextlib.suppress(Conflict, WorkerFailed):  # its state says it
        await engine.capabilities.adopt(listed, resume=True, start=did_run)
        if isinstance(listed, ProcessWorker) and listed.state is WorkerState.RUNNING:
            await until_up(listed)
