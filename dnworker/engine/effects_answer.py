"""`EffectsPage`: what workers did with events, by the numbers of these; `/api/history/effects` answers it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import takewhile
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.envelope import has_payload, payload_json
from dnworker.core.text import clip, shorten
from dnworker.workers.subprocess_worker import SubprocessWorker

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation
    from dnworker.engine.engine import Engine
    from dnworker.workers.managed import ManagedWorker

PAYLOADS_IN_ALL = 4_000_000
"""Bytes of payloads in one answer; a page ends where they are reached."""

LONGEST_ERROR = 2_000
"""Characters of the message of an error."""

WORKERS_TOLD = 1_000


class PublishedEffect(msgspec.Struct, kw_only=True):
    """An event that a run has published."""

    id: str
    kind: str
    session_id: str | None = None
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Left out where it is not kept any more."""


class EffectsOfRun(msgspec.Struct, kw_only=True):
    """What one run of a handler did."""

    worker: str
    handler: str
    outcome: str
    """`running`, `ok`, `warning`, `error` or `cancelled`."""
    delivery: int = 1
    errors: list[str] = []
    """Type and message of what it raised, and of what tasks raised that it started."""
    published: list[PublishedEffect] = []
    requests: list[str] = []
    """What else it had the runtime change, such as `requests POST /api/sessions/s-1/title`."""


class EffectsOfEvent(msgspec.Struct, kw_only=True):
    """What handlers did with one event."""

    id: str
    seq: int
    kind: str
    settled: bool
    """Whether no worker has it in its queue, and all runs have ended."""
    lacks: str | None = None
    """What is not known of it, in words."""
    runs: list[EffectsOfRun] = []


class WorkerStanding(msgspec.Struct, kw_only=True):
    """How a worker stands now."""

    state: str
    silent: str | None = None
    """Why nobody knows what its handlers do; None where that is known."""


class EffectsPage(msgspec.Struct, kw_only=True):
    """Events in the order of their numbers, with what handlers did."""

    runtime_id: str
    events: list[EffectsOfEvent]
    workers: dict[str, WorkerStanding]
    next: int | None
    """The `after` of the next page; None where that is all."""
    oldest_seq: int | None
    """The oldest event that is kept; what handlers did with older ones is not answered."""


def effects_page(
    engine: Engine, *, after: int, until: int | None, kinds: Collection[str], limit: int
) -> EffectsPage:
    """Return what was done with the events after one, up to another, of some kinds or of all."""
    history = engine.history
    newest_first = takewhile(lambda one: one.seq > after, history.newest_first())
    wanted = [
        one
        for one in newest_first
        if (until is None or one.seq <= until) and (not kinds or one.kind in kinds)
    ][::-1]
    found, room = list[EffectsOfEvent](), PAYLOADS_IN_ALL
    for event in wanted[:limit]:
        one, size = _of_event(engine, event)
        if found and size > room:
            break
        room -= size
        found.append(one)
    oldest = history.oldest()
    return EffectsPage(
        runtime_id=engine.runtime_id,
        events=found,
        workers={one.qualified_name: _standing(one) for one in engine.workers()[:WORKERS_TOLD]},
        next=found[-1].seq if len(found) < len(wanted) else None,
        oldest_seq=None if oldest is None else oldest.seq,
    )


def _of_event(engine: Engine, event: EventEnvelope) -> tuple[EffectsOfEvent, int]:
    history, event_id = engine.history, event.event_id
    runs, size = list[EffectsOfRun](), 0
    invocations = history.invocations_of(event_id)
    for run in invocations:
        of_run, of_payloads = _of_run(run)
        runs.append(of_run)
        size += of_payloads
    is_coming = history.elsewhere is not None and (
        history.elsewhere.is_pending(event_id) or any(map(history.elsewhere.has_coming, invocations))
    )
    settled = (
        event_id not in history.queued()
        and not is_coming
        and history.held(event_id) is None
        and all(run.outcome != "running" for run in invocations)
    )
    lacking = [*history.losses_of(event_id)]
    if lost := history.runs_lost(event_id).runs:
        lacking.append(f"{lost:,} of its runs are not kept any more")
    answer = EffectsOfEvent(
        id=event_id,
        seq=event.seq,
        kind=event.kind,
        settled=settled,
        lacks=shorten("; ".join(lacking), 300) or None,
        runs=runs,
    )
    return answer, size


def _of_run(run: Invocation) -> tuple[EffectsOfRun, int]:
    published = [*map(_published, run.published)]
    errors = [one for one in (run.error, *run.unhandled) if one is not None]
    answer = EffectsOfRun(
        worker=run.worker,
        handler=run.handler,
        outcome=run.outcome,
        delivery=run.delivery,
        errors=[f"{one.type}: {clip(one.message, LONGEST_ERROR)}" for one in errors],
        published=published,
        requests=[*run.requests],
    )
    return answer, sum(len(bytes(one.payload)) for one in published if one.payload is not msgspec.UNSET)


def _published(event: EventEnvelope) -> PublishedEffect:
    return PublishedEffect(
        id=event.event_id,
        kind=event.kind,
        session_id=event.session_id,
        payload=msgspec.Raw(payload_json(event)) if has_payload(event) else msgspec.UNSET,
    )


def _standing(worker: ManagedWorker) -> WorkerStanding:
    silent = worker.why_silent if isinstance(worker, SubprocessWorker) else None
    return WorkerStanding(state=str(worker.state), silent=silent)
