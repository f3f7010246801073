"""`why_unheard`: why no handler ran for an event: its listeners are gated off or down; `fire` says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from dnworker.core.lifecycle import WorkerState

if TYPE_CHECKING:
    from dnworker.events.trace import Trace
    from dnworker.workers.managed import ManagedWorker

NAMED = 3
"""Workers that are named."""

_DOWN = {
    WorkerState.GATED_OFF: "gated off",
    WorkerState.STOPPED: "stopped",
    WorkerState.STOPPING: "stopping",
    WorkerState.ERROR: "in error",
}


def why_unheard(workers: Iterable[ManagedWorker], kind: str, only: str | None = None) -> list[str]:
    """Return which workers would have handled an event of a kind, and why they do not, with the way out.

    Empty where none would. Of a worker that has never run it is not known what it listens to; it is named
    where no other is.
    """
    down = [one for one in workers if one.state in _DOWN and only in (None, one.qualified_name)]
    known = [one for one in down if one.stats and one.may_hear(kind)]
    if known:
        return [*(_listens(one, "listens") for one in known[:NAMED]), *_more(len(known))]
    unknown = [one for one in down if not one.stats]
    return [*(_listens(one, "may listen") for one in unknown[:NAMED]), *_more(len(unknown))]


async def note_unheard(
    trace: Trace,
    late: tuple[str, ...],
    workers: Iterable[ManagedWorker],
    only: str | None,
    ask_others: Callable[[str, str | None], Awaitable[list[str]]],
) -> None:
    """Note in a trace who has not got its event: workers that were still starting (`late`), or are down.

    `ask_others` returns the same of workers of other nodes, by kind and the name of the only worker.
    """
    trace.not_listening = late
    if not late and not trace.invocations:
        kind = trace.event.kind
        trace.notes = (*trace.notes, *why_unheard(workers, kind, only), *await ask_others(kind, only))


def _listens(worker: ManagedWorker, verb: str) -> str:
    name, state = worker.qualified_name, worker.state
    way_out = f"restart {worker.name}"
    if state is WorkerState.GATED_OFF:
        way_out = f"turn on {' or '.join(worker.definition.when)}"
    elif state is WorkerState.STOPPED:
        way_out = f"start {worker.name}"
    return f"{name} {verb} to it, and is {_DOWN[state]}: {way_out}"


def _more(count: int) -> list[str]:
    return [f"and {count - NAMED:,} more workers"] if count > NAMED else []
