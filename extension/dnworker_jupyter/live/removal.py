"""Finds the handler that `%worker remove NAME.HANDLER` names, and what was removed so; used by magics."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from dnworker.core.errors import UsageError
from dnworker_jupyter.live.records import Handler, Registration
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.syntax.cell import Cell, LeftOut
from dnworker_jupyter.syntax.options import nearest


def handler_called(
    live: LiveWorker, name: str, cell: int | None, trigger: str | None
) -> tuple[Handler, Cell]:
    """Return the one handler that is meant, and its cell.

    Args:
        live: the worker.
        name: of the handler, as `%worker NAME` shows it.
        cell: the number of its cell, if it was given.
        trigger: what it is registered for, if it was given: `turn.completed`, or `on_event turn.completed`.

    Raises:
        UsageError: there is none, or there are several.
    """
    handlers = [*live.handlers()]
    called = [(h, c) for h, c in handlers if h.key.name == name]
    if not called:
        names = [*dict.fromkeys(h.key.name for h, _ in handlers)]
        known = f"; it has: {', '.join(names)}" if names else "; it has none"
        raise UsageError(
            f"worker {live.name!r} has no handler {name!r}{nearest(name, names) or known}", code="DN110"
        )
    of_cell = [(h, c) for h, c in called if cell in (None, c.number)]
    if not of_cell:
        raise UsageError(f"cell [{cell}] has no {live.name}.{name}; {_listed(called)}", code="DN110")
    meant = [(h, c) for h, c in of_cell if trigger is None or trigger in _names(h)]
    if not meant:
        raise UsageError(
            f"{live.name}.{name} is not registered for {trigger!r}; {_listed(of_cell)}", code="DN110"
        )
    if len(meant) > 1:
        raise UsageError(
            f"there are {len(meant)} of {live.name}.{name}: {_listed(meant)}; {_way_out(meant)}", code="DN110"
        )
    return meant[0]


def registered_for(handler: Handler) -> str:
    """Return what a handler is registered for, as tables show it."""
    return f"{handler.key.decorator} {handler.key.trigger}".strip()


def _names(handler: Handler) -> tuple[str, ...]:
    return (handler.key.trigger or handler.key.decorator, registered_for(handler))


def _listed(found: Iterable[tuple[Handler, Cell]]) -> str:
    return ", ".join(f"{registered_for(handler)} of {cell.label}" for handler, cell in found)


def _way_out(found: list[tuple[Handler, Cell]]) -> str:
    """Say what to add, so that one of several is meant."""
    numbers = sorted({cell.number for _, cell in found})
    if len(numbers) == len(found):
        return f"say which: --cell {' or --cell '.join(map(str, numbers))}"
    triggers = [*dict.fromkeys(_names(handler)[0] for handler, _ in found)]
    cell = f"--cell {found[0][1].number} " if len(numbers) > 1 else ""
    return f"say which, as in: {cell}--for {triggers[0]}"


def left_out(live: LiveWorker) -> Iterator[LeftOut]:
    """Go through what was taken out of the cells of the present generation, as an export needs to know it."""
    for registration in live.registrations.values():
        yield from _left_out_of(live.name, registration)


def _left_out_of(worker: str, registration: Registration) -> Iterator[LeftOut]:
    kept = {_line_of(handler) for handler in registration.handlers}
    gone = [_line_of(handler) for handler in registration.left_out]
    for handler, line in zip(registration.left_out, gone, strict=True):
        trigger = registered_for(handler)
        yield LeftOut(worker, registration.cell, handler.name, trigger, line, line not in kept)


def _line_of(handler: Handler) -> int | None:
    """Return the line of its cell that a handler's definition begins on, decorators included."""
    try:
        code = getattr(inspect.unwrap(handler.function), "__code__", None)
    except ValueError:  # it is wrapped in itself
        return None
    return getattr(code, "co_firstlineno", None)
