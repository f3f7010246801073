"""`%worker state`: shows the state of a worker, now or before an event, and puts an earlier one back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from dnworker.core.errors import Conflict, UsageError, code_of
from dnworker.engine.worker_state import state_of
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.state_changes import differences, moment_of
from dnworker.workers.state_snapshots import KEPT, Snapshot, why_impossible
from dnworker.workers.state_text import text_of
from dnworker_jupyter.display.states import StateTree
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.context import MagicContext

IDLE_SECONDS = 5.0
"""In which handlers that run must end before a state is put back."""

LISTED = 12
"""Events that a message names as those whose states are kept."""


def show(context: MagicContext, managed: ManagedWorker) -> StateTree:
    """Return the state of a worker as it is now.

    Raises:
        UsageError: it cannot be read from here.
    """
    state = _state(context, managed)
    why_off = context.states.why_off(managed.name)
    kept = _of(context, managed)
    notes = [f"changes are not noted: {why_off}"] if why_off else []
    if kept:
        notes.append(
            f"kept from before {_named(kept)}: %worker state {managed.name} --before #{kept[-1].seq}"
        )
    return StateTree(state, _title(managed, len(state)), tuple(notes))


def find_state(context: MagicContext, value: object) -> StateTree | None:
    """Return what is drawn for a dict that is the state of a worker; None for every other."""
    for managed in context.runtime.workers():
        registry = managed.worker if isinstance(managed, InProcessWorker) else None
        if registry is not None and registry.state is value:
            return show(context, managed)
    return None


def show_before(
    context: MagicContext, managed: ManagedWorker, event: str, keep: Collection[str]
) -> StateTree:
    """Return the state of a worker as it was before an event.

    Raises:
        UsageError: it is not kept, or not whole.
    """
    snapshot = snapshot_of(context, managed, event)
    live = _state(context, managed) if snapshot.missing and keep else {}
    wanted = keep or [one.key for one in snapshot.missing]
    state = snapshot.state(live, wanted)
    title = f"{_title(managed, len(state))}, before #{snapshot.seq} {snapshot.kind}"
    return StateTree(
        state, title, (*(f"not in it: {one}" for one in snapshot.missing), *_taken(managed, snapshot))
    )


async def restore(context: MagicContext, managed: ManagedWorker, event: str, keep: Collection[str]) -> Note:
    """Put the state of a worker back as it was before an event; the dict stays the same object.

    Raises:
        UsageError: it is not kept, not whole, or handlers run that do not end.
    """
    snapshot = snapshot_of(context, managed, event)
    _state(context, managed)
    await _until_idle(context, managed, event)
    state = _state(context, managed)
    new = snapshot.state(state, keep)
    before = moment_of(state)
    dict.clear(state)
    dict.update(state, new)
    found = differences(before, moment_of(state))
    changes = [text_of(key, old, now) for key, (old, now) in found.items()]
    said = f"the state of {managed.name} is as it was before #{snapshot.seq} {snapshot.kind}"
    context.runtime.log_line(
        managed.qualified_name, f"state: put back as it was before #{snapshot.seq}", source="runtime"
    )
    tasks = [one.handler for one in _running(context, managed)]
    lines = [f"{said}: {', '.join(changes) or 'nothing in it differs'}", *_taken(managed, snapshot)]
    if tasks:
        lines.append(f"its task {', '.join(dict.fromkeys(tasks))} runs on, with what it has read before")
    return Note("\n".join(lines))


def switch(context: MagicContext, managed: ManagedWorker, how: str) -> Note:
    """Switch on or off that changes are noted."""
    context.states.switch(managed.name, on=how == "on")
    text = "is noted from the next event on" if how == "on" else "is not noted any more"
    return Note(f"what handlers of {managed.name} change in its state {text}")


def snapshot_of(context: MagicContext, managed: ManagedWorker, event: str) -> Snapshot:
    """Return the state of a worker before an event that `#12`, or the beginning of an id, names.

    Raises:
        UsageError: none is kept; says which are.
    """
    kept = _of(context, managed)
    for one in reversed(kept):
        if event in (f"#{one.seq}", str(one.seq)) or (len(event) >= 8 and one.event_id.startswith(event)):
            return one
    raise UsageError(
        f"no state of {managed.name} before {event} is kept; {what_is_kept(kept, managed.name)}", code="DN711"
    )


def what_is_kept(kept: list[Snapshot], name: str) -> str:
    """Say before which events states are kept."""
    if (why := why_impossible()) is not None:
        return why
    if not kept:
        return f"one is kept before each event that a cell fires and {name} handles, of the newest {KEPT}"
    return f"there are those before {_named(kept)}"


def _named(kept: list[Snapshot]) -> str:
    names = [f"#{one.seq}" for one in kept[-LISTED:]]
    return f"{', '.join(names)}{f' and {len(kept) - LISTED} earlier ones' if len(kept) > LISTED else ''}"


def _of(context: MagicContext, managed: ManagedWorker) -> list[Snapshot]:
    return [one for one in context.states.snapshots if one.worker.rpartition(":")[2] == managed.name]


def _state(context: MagicContext, managed: ManagedWorker) -> dict[Any, Any]:
    try:
        return state_of(managed)
    except Conflict as exc:
        is_live = context.live.running(managed) is not None and not isinstance(managed, InProcessWorker)
        way = (
            f": %worker topology {managed.name} in-process, which starts it with empty state"
            if is_live
            else ""
        )
        raise UsageError(f"{exc}{way}", code=code_of(exc) or "DN710") from None


def _title(managed: ManagedWorker, count: int) -> str:
    keys = f"{count:,} key{'' if count == 1 else 's'}"
    return f"state of {managed.qualified_name}, generation {managed.generation}: {keys}"


def _taken(managed: ManagedWorker, snapshot: Snapshot) -> tuple[str, ...]:
    if snapshot.generation == managed.generation:
        return ()
    return (f"it is of generation {snapshot.generation}; generation {managed.generation} runs now",)


def _running(context: MagicContext, managed: ManagedWorker) -> list[Any]:
    runs = context.runtime.history.invocations(managed.qualified_name)
    return [one for one in runs if one.outcome == "running"]


async def _until_idle(context: MagicContext, managed: ManagedWorker, event: str) -> None:
    """Return when no handler of a worker runs, but for its tasks, which never end."""
    ended = asyncio.Event()
    unlisten = context.runtime.history.listen(lambda invocation: ended.set())
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            while [one for one in _running(context, managed) if one.cause != "task"]:
                ended.clear()
                await ended.wait()
    except TimeoutError:
        running = [one for one in _running(context, managed) if one.cause != "task"]
        names = ", ".join(f"{one.handler}{f' (#{one.event.seq})' if one.event else ''}" for one in running)
        raise UsageError(
            f"{managed.name} still runs {names} after {IDLE_SECONDS:g} s, and its state is not changed under "
            f"it; interrupt it, or wait, and then: %worker state {managed.name} --restore {event}",
            code="DN711",
        ) from None
    finally:
        unlisten()
