"""Words what changed when a cell's handlers take effect; `transactions` prints it."""

from __future__ import annotations

from dnworker.core.lifecycle import WorkerState
from dnworker_jupyter.live.records import Change, wrong_signature
from dnworker_jupyter.live.worker import LiveWorker


def describe_change(live: LiveWorker, change: Change) -> list[str]:
    """Return the lines that a cell prints of what its commit changed."""
    how = " (restarted)" if change.restarted else ""
    topology = "" if live.topology == "in-process" else f" as a process ({live.topology})"
    lines = [f"{live.name} is {live.state_now}{topology}{how}, generation {live.generation}"]
    if live.state_now is WorkerState.GATED_OFF:
        lines[0] += f"; it needs one of these flags on: {', '.join(live.options.when)}"
    for sign, handlers in (("+", change.added), ("~", change.changed), ("-", change.removed)):
        for handler in handlers:
            lines.append(f"  {sign} {' '.join(filter(None, handler.key[:2]))}: {handler.name}")
    for handler in (*change.added, *change.changed):
        if (wrong := wrong_signature(handler)) is not None:
            lines.append(f"  ! {handler.name} {wrong}")
    for name in change.twice:
        lines.append(f"  ! {name} is defined twice in this cell; the last counts")
    for handler, cell in change.taken_over:
        lines.append(
            f"  ! {handler.name} was registered by {cell.label} too; this cell's is the one that counts now"
        )
    if next(live.handlers(), None) is None:
        lines.append("  it has no handlers yet")
    return lines
