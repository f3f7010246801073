"""`%runtime mcp`: lets coding agents reach this notebook, says what they may do, and undoes what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnworker.core.errors import UsageError
from dnworker.core.text import shorten
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.context import MagicContext

if TYPE_CHECKING:
    from dnworker_jupyter.live.agent_changes import AgentChange
    from dnworker_jupyter.magics.door import Door

CHANGES_SHOWN = 20
LONGEST_SOURCE = 20_000


async def run_mcp(context: MagicContext, *, allow_write: bool, stop: bool, undo: str | None) -> Note:
    """Start what agents reach, or stop it, or undo a change of one.

    Raises:
        UsageError: options do not go together, the process does not start, or there is no such change.
        Conflict: somebody has changed the worker since.
    """
    if sum((allow_write, stop, undo is not None)) > 1:
        raise UsageError(
            "%runtime mcp: --allow-write, --stop and --undo exclude each other; leave the others out",
            code="DN103",
        )
    door = door_of(context)
    if undo is not None:
        return await _undo(door, undo)
    if stop:
        context.agents.may_write = False
        did_run = await context.mcp.stop()
        said = "agents do not reach this notebook any more" if did_run else "no agent reached this notebook"
        return Note(f"{said}; what they did stays, and can be undone: %runtime mcp --undo ID")
    listening = await context.mcp.start()
    context.agents.may_write = allow_write
    lines = [
        f"agents reach this notebook at {listening.url}; the token is in {listening.token_file}, "
        "which only you can read",
        _what_they_may(allow_write=allow_write),
        *_changes(door),
        *_outside(context),
    ]
    return Note("\n".join(lines))


def door_of(context: MagicContext) -> Door:
    """Return what agents may do in the notebook."""
    from dnworker_jupyter.magics.door import Door  # only where agents are let in

    door = None if context.runtime.door is None else context.runtime.door()
    assert isinstance(door, Door)
    return door


async def _undo(door: Door, change: str) -> Note:
    done = await door.undo_in_cell(change, by="the user")
    workers = ", ".join(f"{name} (generation {number})" for name, number in done["now"].items())
    return Note(f"change {change} is undone: {workers or done['worker'] + ' is removed'}; {done['note']}")


def _what_they_may(*, allow_write: bool) -> str:
    looks = "they may look, fire and replay events, move a virtual clock and make tests"
    if allow_write:
        return f"{looks}, and write workers: each change is marked, and undone by %runtime mcp --undo ID"
    return f"{looks}; they may not write workers, until you allow it: %runtime mcp --allow-write"


def _changes(door: Door) -> list[str]:
    changes = door.agent_changes.all()
    lines = [f"  {_line(change)}" for change in changes[-CHANGES_SHOWN:]]
    more = len(changes) - len(lines)
    head = f"changes of agents{f' ({more} earlier ones are not shown)' if more else ''}:"
    return [head, *lines] if lines else []


def _line(change: AgentChange) -> str:
    workers = ", ".join(f"{name}, generation {step.after}" for name, step in change.steps.items())
    state = f"undone by {change.undone_by}" if change.undone else f"{change.cell.label}"
    return f"{change.id}  {change.at[:19].replace('T', ' ')}  {change.by}: {workers}  ({state})"


def _outside(context: MagicContext) -> list[str]:
    """Return the cells that run, and that the notebook does not have, to be pasted into it."""
    lines: list[str] = []
    for cell in context.agents.outside(context.live):
        lines += [
            "",
            f"{cell.label} of agent {cell.by} is not in the notebook, and runs until the kernel ends; "
            "paste it into a cell and run that:",
            "",
            shorten(cell.source, LONGEST_SOURCE) if len(cell.source) > LONGEST_SOURCE else cell.source,
        ]
    return lines
