"""Words why a generation did not start, and what there is of the worker then; used by `LiveWorker`."""

from __future__ import annotations

import errno

from dnworker.core.errors import WorkerFailed
from dnworker.core.handler_error import describe
from dnworker.core.lifecycle import WorkerState
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.runner import NotStarted
from dnworker_jupyter.live.generations import Generation
from dnworker_jupyter.syntax.cell import Cell


def is_address_in_use(failure: BaseException | None) -> bool:
    """Return whether something could not listen because its address is taken, most likely by us."""
    seen: set[int] = set()
    while failure is not None and id(failure) not in seen:
        seen.add(id(failure))
        if isinstance(failure, OSError) and failure.errno == errno.EADDRINUSE:
            return True
        failure = failure.__cause__ or failure.__context__
    return False


def reason(name: str, exc: NotStarted, generation: Generation) -> str:
    """Say which startup handler failed, of which cell, and with what."""
    if exc.handler is None:
        return f"the startup of worker {name!r} was ended: {exc}"
    cell, said = generation.cell_of(exc.handler), str(describe(exc.failure))
    of = f" of {cell.label}" if cell is not None and cell.label not in said else ""
    text = f"worker {name!r}: on_startup {exc.handler.key.name}{of} raised {said}"
    return "; ".join([text, *(f"its on_shutdown too: {said}" for said in exc.shutdown)])


def what_fails(managed: ManagedWorker | None, generation: Generation) -> tuple[Cell, str, str] | None:
    """Return the startup handler that keeps a worker in `error`, as `Change.failing` has it."""
    if not isinstance(managed, InProcessWorker) or managed.state is not WorkerState.ERROR:
        return None
    failure = managed.startup_failure
    cell = generation.cell_of(failure.handler) if failure is not None else None
    if failure is None or failure.handler is None or cell is None:
        return None
    name = failure.handler.key.name
    return cell, f"{managed.name}.{name}", f"on_startup {name} raised {describe(failure.failure)}"


def what_was(before: Generation) -> str:
    """Say what there is of a worker that did not run before a generation that did not start."""
    if not before.registrations:
        return "it has no earlier generation, so nothing of it runs"
    return f"it is as it was, with the handlers of generation {before.number}"


def why_failed(managed: ManagedWorker) -> str:
    """Say why a worker is in state `error`."""
    errors = [
        s.last_error for key, s in managed.stats.items() if key.decorator == "on_startup" and s.last_error
    ]
    why = f"on_startup raised {errors[-1]}" if errors else managed.error
    return f"worker {managed.name!r} is in state {managed.state}: {why}"


def why_not_up(managed: ManagedWorker, generation: Generation) -> str:
    """Say why a worker is in `error` after its first start as `generation`."""
    failure = managed.startup_failure if isinstance(managed, InProcessWorker) else None
    return why_failed(managed) if failure is None else reason(managed.name, failure, generation)


def what_is_back(listed: ManagedWorker | None, *, did_run: bool) -> str:
    """Say what there is of a worker, after what was to run in the place of `listed` did not come up."""
    if listed is None:
        return what_was(Generation())
    old = f"generation {listed.generation}, {listed.topology_label},"
    if not did_run:
        return f"{old} is {listed.state}"
    again = "is started again" if listed.state is WorkerState.RUNNING else f"is {listed.state}"
    return f"{old} was stopped for it, and {again}"


def check_started(managed: InProcessWorker, before: Generation, now: Generation, name: str) -> None:
    """Check that a generation started where none ran; a startup handler that was there before may fail.

    Raises:
        WorkerFailed: it did not start, by what is new in it.
    """
    if managed.state is not WorkerState.ERROR:
        return
    failure = managed.startup_failure
    if failure is None:
        raise WorkerFailed(f"{why_failed(managed)}; {what_was(before)}")
    if before.cell_of(failure.handler) is None:
        raise WorkerFailed(f"{reason(name, failure, now)}; {what_was(before)}")


def what_runs(before: Generation, managed: InProcessWorker, *, was_stopped: bool) -> str:
    """Say how the generation before is, after another did not start."""
    state = managed.state
    runs = state is WorkerState.RUNNING
    if not was_stopped:
        return f"generation {before.number} {'runs on, with its state' if runs else f'is {state}'}"
    again = "is started again, with its state" if runs else f"does not start again: {managed.error or state}"
    return f"generation {before.number} was stopped for it, and {again}"
