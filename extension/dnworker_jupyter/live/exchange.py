"""Brings a managed worker up in the place of another, and takes that back; used by `LiveWorker`."""

from __future__ import annotations

import contextlib

from dnworker.core.errors import Conflict, WorkerFailed
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.engine import Engine
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker_jupyter.live.generations import Generation
from dnworker_jupyter.live.outcomes import is_address_in_use, why_not_up
from dnworker_jupyter.live.processes import ProcessWorker, until_up


class AddressInUse(WorkerFailed):
    """A startup handler of a worker found an address in use, which may be that of another worker."""


async def bring_up(
    engine: Engine, managed: InProcessWorker | ProcessWorker, generation: Generation, *, starts: bool
) -> None:
    """List a worker in place of any other of its name, and return when it is up; else only list it.

    Raises:
        WorkerFailed: it did not come up; `AddressInUse` where a startup handler found an address in use.
        Conflict: the runtime stops, or a loaded capability runs in its place.
    """
    await engine.capabilities.adopt(managed, start=starts)
    if managed.state is WorkerState.ERROR:
        failure = managed.startup_failure if isinstance(managed, InProcessWorker) else None
        is_in_use = failure is not None and is_address_in_use(failure.failure)
        raise (AddressInUse if is_in_use else WorkerFailed)(why_not_up(managed, generation))
    if isinstance(managed, ProcessWorker) and managed.state is WorkerState.RUNNING:
        await until_up(managed)


async def take_back(
    engine: Engine, managed: ManagedWorker, listed: ManagedWorker | None, *, did_run: bool
) -> None:
    """Take what did not come up, and was stopped, off the list, and list what was `listed` before again."""
    if listed is None:
        await engine.capabilities.remove(managed)
        return
    with contextlib.suppress(Conflict, WorkerFailed):  # its state says it
        await engine.capabilities.adopt(listed, resume=True, start=did_run)
        if isinstance(listed, ProcessWorker) and listed.state is WorkerState.RUNNING:
            await until_up(listed)
