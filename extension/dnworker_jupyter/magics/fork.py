"""`%replay #12 --from-state`: runs an event on the state that a worker had before it; the live one stays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.replay import Edit, edited, replay
from dnworker.engine.state_watch import Fork
from dnworker.events.trace import Trace
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.shadow import Comparison, compare
from dnworker.workers.state_snapshots import Snapshot
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.state import what_is_kept


class _Chosen(msgspec.Struct, frozen=True):
    """The event, the worker, and its state before the event."""

    event: EventEnvelope
    live: LiveWorker
    managed: InProcessWorker
    snapshot: Snapshot
    keep: Collection[str]

    def state(self) -> dict[Any, Any]:
        """Return the state, made anew at each call."""
        registry = self.managed.worker
        return self.snapshot.state({} if registry is None else registry.state, self.keep)


async def replay_on_fork(
    context: MagicContext,
    events: Sequence[EventEnvelope],
    *,
    worker: str | None,
    keep: Collection[str],
    edits: Sequence[Edit],
    timeout: float,
    session: str | None,
) -> Trace:
    """Fire an event again for one worker, whose handlers find the state of then.

    Raises:
        UsageError: no such state is kept, or it is not whole; says which are.
    """
    chosen = _choose(context, events, worker, keep)
    managed, live = chosen.managed, chosen.live
    if managed.state is not WorkerState.RUNNING:
        raise UsageError(f"{live.name} is {managed.state}; start it: %worker start {live.name}", code="DN313")
    shadow = live.make_shadow()
    shadow.state = chosen.state()
    with context.states.on_fork(Fork(managed.qualified_name, shadow)):
        (trace,) = await replay(
            context.runtime,
            [chosen.event],
            edits=edits,
            only=managed.qualified_name,
            session_id=session,
            timeout=timeout,
        )
    before = f"on the state before #{chosen.event.seq}; the state of {live.name} stays as it is"
    trace.notes = (before, *_generations(chosen))
    return trace


async def compare_on_fork(
    context: MagicContext,
    events: Sequence[EventEnvelope],
    *,
    worker: str | None,
    keep: Collection[str],
    edits: Sequence[Edit],
) -> Comparison:
    """Compare the previous and the present generation on an event and the state before it, in shadow.

    Raises:
        UsageError: no such state is kept, it is not whole, or there is no earlier generation.
    """
    chosen = _choose(context, events, worker, keep)
    live = chosen.live
    previous = live.previous()
    if previous is None:
        raise UsageError(
            f"{live.name} has no earlier generation to compare with; change its cell, and run it",
            code="DN112",
        )

    def on_state(make: Any) -> Worker:
        made: Worker = make()
        made.state = chosen.state()
        return made

    event = with_edits(chosen.event, edits)
    at = f"on the state before #{event.seq}"
    labels = (
        f"{live.name}, the generation before, {at}",
        f"{live.name}, generation {live.generation}, {at}",
    )
    return await compare(
        lambda: on_state(previous),
        lambda: on_state(live.make_shadow),
        [event],
        context.runtime.client(),
        labels,
        has_started=True,
    )


def with_edits(event: EventEnvelope, edits: Sequence[Edit]) -> EventEnvelope:
    """Return an event with fields of its payload changed, for what runs it without publishing it.

    Raises:
        UsageError: an edit leads nowhere.
    """
    return msgspec.structs.replace(event, payload=edited(event.payload, edits)) if edits else event


def _choose(
    context: MagicContext, events: Sequence[EventEnvelope], worker: str | None, keep: Collection[str]
) -> _Chosen:
    """Return what is replayed, on which worker's state.

    Raises:
        UsageError: it is not one event, no state before it is kept, or that of several workers is.
    """
    if len(events) != 1:
        raise UsageError(
            f"--from-state takes one event, not {len(events)}: each has a state of its own; "
            "as in: %replay #12 --from-state",
            code="DN103",
        )
    (event,) = events
    kept = context.states.snapshots.before(event.event_id)
    if worker is not None:
        managed = context.worker(worker)
        kept = [one for one in kept if one.worker.rpartition(":")[2] == managed.name]
    names = [one.worker.rpartition(":")[2] for one in kept]
    if len(kept) > 1:
        raise UsageError(
            f"{', '.join(names)} have handled #{event.seq}, each on its own state; "
            f"choose one: --worker {names[0]}",
            code="DN711",
        )
    if not kept:
        others = [one for one in context.states.snapshots if worker in (None, one.worker.rpartition(":")[2])]
        whose = "no state" if worker is None else f"no state of {worker}"
        raise UsageError(
            f"{whose} before #{event.seq} is kept; {what_is_kept(others, worker or 'a worker')}", code="DN711"
        )
    live = context.live_worker(context.worker(names[0]))
    if not isinstance(live.managed, InProcessWorker):
        raise UsageError(
            f"{live.name} runs as a process now, and its handlers are not run on another state; "
            f"%worker topology {live.name} in-process",
            code="DN711",
        )
    return _Chosen(event, live, live.managed, kept[0], keep)


def _generations(chosen: _Chosen) -> tuple[str, ...]:
    then, now = chosen.snapshot.generation, chosen.live.generation
    kept = [
        f"{key} is the live one"
        for key in sorted(set(chosen.keep))
        if key in {m.key for m in chosen.snapshot.missing}
    ]
    return (
        *([f"by the handlers of generation {now}; it was generation {then}"] if then != now else []),
        *kept,
    )
