"""`%worker remove NAME.HANDLER`: takes one handler out, until its cell runs again; used by `worker`."""

from __future__ import annotations

from dnworker.core.errors import UsageError
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.live.notice import notice_of
from dnworker_jupyter.live.records import Handler
from dnworker_jupyter.live.removal import handler_called, registered_for
from dnworker_jupyter.live.report import failing
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.cell import Cell


def names_handler(context: MagicContext, name: str) -> bool:
    """Return whether a name is that of a handler: `bridge.on_turn`, also behind `capability:`.

    Raises:
        UsageError: a colon stands in the place of the dot; says what is meant.
    """
    if any(name in (worker.name, worker.qualified_name) for worker in context.runtime.workers()):
        return False
    if "." in name:
        return True
    worker, _, handler = name.rpartition(":")
    live = context.live.get(worker.rpartition(":")[2])
    if live is not None and any(one.key.name == handler for one, _ in live.handlers()):
        raise UsageError(f"no worker {name!r}; did you mean {worker}.{handler}?", code="DN110")
    return False


async def remove_handler(context: MagicContext, name: str, number: int | None, trigger: str | None) -> Note:
    """Take a handler out; `number` is that of its cell, `trigger` what it is registered for, where given.

    Raises:
        UsageError: there is none, or there are several.
        WorkerFailed: what is left did not start; the text says what runs now.
    """
    worker, _, called = name.rpartition(".")
    managed = context.worker(worker)
    live = context.live.running(managed)
    if live is None:
        raise UsageError(
            f"worker {managed.name!r} was not made of cells; its handlers go where they are defined",
            code="DN113",
        )
    handler, cell = handler_called(live, called, number, trigger)
    with notice_of(live):
        change = await live.without([handler])
    return Note("\n".join([_without(live, handler, cell), *failing(change)]))


def _without(live: LiveWorker, handler: Handler, cell: Cell) -> str:
    what = f"{handler.key.name} ({registered_for(handler)}) of {cell.label}"
    if next(live.handlers(), None) is None:
        rest = f"it has no handlers left; %worker remove {live.name} removes it"
    else:
        rest = "it is back when that cell runs again"
    return f"{live.name} is {live.state_now} without {what}, generation {live.generation}; {rest}"
