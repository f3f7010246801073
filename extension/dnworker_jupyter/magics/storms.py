"""`%worker resume` and `%runtime storm`: what becomes of events that cause themselves."""

from __future__ import annotations

from dnworker.core.errors import UsageError
from dnworker.core.limits import storm_mode
from dnworker.events.storms import DEEP, WIDER, WINDOW
from dnworker.workers.managed import ManagedWorker
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.context import MagicContext

WAY_OUT = "correct the handlers, then %worker resume {worker} delivers them, and with --drop lets them go"
"""What a notebook's user can do about a storm."""


def resume(context: MagicContext, worker: ManagedWorker | None, *, drop: bool) -> Note:
    """Deliver what is held of event storms, of all workers or of one; or let it go.

    Raises:
        UsageError: nothing is held.
    """
    storms = context.runtime.storms
    name = None if worker is None else worker.qualified_name
    if not any(name is None or name in storm.workers for storm in storms.storms):
        whose = "" if worker is None else f" of {worker.name}"
        raise UsageError(f"no event{whose} is held: there is no event storm", code="DN214")
    count = storms.drop(name) if drop else storms.resume(name)
    context.runtime.look_again()
    what = f"{count:,} event{'s are' if count != 1 else ' is'}"
    return Note(f"{what} {'let go' if drop else 'delivered'}; what is published from now on counts anew")


def show_or_set(context: MagicContext, mode: str | None, limit: int | None) -> Note:
    """Set what is done about event storms, where that is said, and return what it is.

    Raises:
        UsageError: the mode is none, or the limit is not positive.
    """
    storms = context.runtime.storms
    wanted = None if mode is None else storm_mode(mode)
    if limit is not None:
        if limit < 1:
            raise UsageError(f"--limit {limit}: a number of events is wanted, such as 1000", code="DN214")
        storms.limit = limit
    if wanted is not None:
        storms.mode = wanted
        context.runtime.look_again()
    what = {"hold": "held", "warn": "told and delivered", "off": "not looked at"}[storms.mode]
    now = "".join(f"\n{storms.message(storm)} ({storm.held:,} held)" for storm in storms.storms)
    return Note(
        f"event storms are {what} ({storms.mode}): past {storms.limit:,} events within {WINDOW:g} s that "
        f"repeat what led to them, {DEEP} levels deep, or {WIDER * storms.limit:,} at any depth{now}"
    )
