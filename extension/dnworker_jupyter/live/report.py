"""Words what changed when a cell's handlers take effect; `transactions` prints it."""

from __future__ import annotations

from dnworker.core.lifecycle import WorkerState
from dnworker.workers.blocking import blocking_calls
from dnworker.workers.decorating import how_called, kind_problem, place_of
from dnworker_jupyter.live.records import Change, Handler
from dnworker_jupyter.live.worker import LiveWorker


def describe_change(live: LiveWorker, change: Change) -> list[str]:
    """Return the lines that a cell prints of what its commit changed."""
    if change.is_unchanged:
        return [f"{live.name}: unchanged (generation {live.generation})"]
    how = " (restarted)" if change.restarted else ""
    topology = "" if live.topology == "in-process" else f" as a process ({live.topology})"
    lines = [f"{live.name} is {live.state_now}{topology}{how}, generation {live.generation}"]
    if live.state_now is WorkerState.GATED_OFF:
        lines[0] += f"; it needs one of these flags on: {', '.join(live.options.when)}"
    if live.managed is not None and live.state_now is WorkerState.STANDBY:
        lines[0] += f": {live.managed.why_standby}"
    lines += [f"  ! {line}" for line in failing(change)]
    former = {handler.key: f", in place of {cell.label}'s" for handler, cell in change.taken_over}
    for sign, handlers in (("+", change.added), ("~", change.changed), ("-", change.removed)):
        for handler in handlers:
            lines.append(f"  {sign} {_trigger(handler)}: {handler.key.name}{former.get(handler.key, '')}")
    for handler in (*change.added, *change.changed):
        if (wrong := how_called(handler.function, handler.key.decorator)) is not None:
            lines.append(f"  ! {handler.key.name} ({place_of(handler.function)}) {wrong}")
        if handler.key.decorator == "on_event" and (problem := kind_problem(handler.key.trigger)):
            lines.append(f"  ! {handler.key.name} ({place_of(handler.function)}) {problem}")
        lines += [f"  ! {handler.key.name} {text}" for text in blocking_calls(handler.function)]
    for name in change.twice:
        lines.append(
            f"  ! {name} is registered more than once in this cell, in the same way; all of them run"
        )
    for handler, cell in change.beside:
        lines.append(f"  ! {handler.key.name} of {cell.label} runs on beside this one ({_trigger(handler)})")
    if live.options.env and live.options.topology == "in-process":
        lines.append(
            "  ! the export refuses --env with --topology in-process: a variable needs a process of its own, "
            "--topology uv or python"
        )
    if next(live.handlers(), None) is None:
        lines.append("  it has no handlers yet")
    return lines


def failing(change: Change) -> list[str]:
    """Return why the worker is in `error` though a change took effect; no line where it is not."""
    if change.failing is None:
        return []
    cell, handler, said = change.failing
    wayout = f"mend {cell.label} and run it again, or %worker remove {handler}"
    return [f"not for this change: {said}, which {cell.label} registers; {wayout}"]


def _trigger(handler: Handler) -> str:
    return " ".join(filter(None, handler.key[:2]))
