"""The endpoints of the past: events with what handlers did, traces, lines of workers, and their counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dnworker.core.moments import parse_moment
from dnworker.engine import log_lines
from dnworker.engine.log_lines import LinesPage
from dnworker.engine.past import Page, Past
from dnworker.engine.past_envelopes import EnvelopesPage, PastEnvelopes
from dnworker.engine.suggest import Suggestions
from dnworker.engine.trace_answer import TraceAnswer, answer_of
from dnworker.engine.worker_activity import WorkerActivity, activity_of
from dnworker.events.past_events import Wanted
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.rights import Right

Name = Annotated[str, Meta(max_length=256)]
Level = Literal["trace", "debug", "info", "success", "warning", "error", "critical"]

WORKERS_SHOWN = 5_000


class EventsQuery(Fields):
    """Which events: of which kinds, session and worker, since when, and how many; `noise` has all kinds."""

    kind: Annotated[list[Name], Meta(max_length=50)] = []
    session: Name | None = None
    worker: Name | None = None
    failed: bool = False
    since: Name | None = None
    before: Name | None = None
    after: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    noise: bool = False


class EnvelopesQuery(Fields):
    """Which events: of which kinds and session, since when, after which `seq`; `last` is the newest N."""

    kind: Annotated[list[Name], Meta(max_length=50)] = []
    session: Name | None = None
    since: Name | None = None
    after: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    last: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100
    cursor: Name | None = None
    noise: bool = False


class TraceQuery(Fields):
    """How many rows at most, and whether payloads and a sequence diagram are answered, too."""

    limit: Annotated[int, Meta(ge=1, le=5_000)] = 1_000
    payload: bool = False
    mermaid: bool = False


class LinesQuery(Fields):
    """Which lines: of which workers or run, after which, since when, of which level, with which text."""

    worker: Annotated[list[Name], Meta(max_length=50)] = []
    invocation: Name | None = None
    after: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    instance_id: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100
    level: Level = "trace"
    text: Name = ""
    since: Name | None = None


class WorkersAnswer(msgspec.Struct):
    """The workers, and how many more there are."""

    workers: list[WorkerActivity]
    more: int


@endpoint("GET", "/api/history/events", query=EventsQuery, answer=Page, right=Right.LOGS)
async def list_events(call: ApiCall) -> object:
    """List what happened, the newest first; older events are of the journal's file, where there is one."""
    query: EventsQuery = call.query
    now = call.engine.clock.now()
    wanted = Wanted(
        kinds=tuple(query.kind),
        session=query.session,
        worker=query.worker,
        failed=query.failed,
        since=None if query.since is None else parse_moment(query.since, now),
        noise=query.noise,
    )
    return await _past(call).page(wanted, query.limit, before=query.before, after=query.after)


@endpoint(
    "GET",
    "/api/history/envelopes",
    query=EnvelopesQuery,
    answer=EnvelopesPage,
    right=Right.LOGS,
    errors=(409,),
)
async def envelopes(call: ApiCall) -> object:
    """Give whole events, the oldest first: of the journal where there is one, else of memory."""
    query: EnvelopesQuery = call.query
    wanted = Wanted(
        kinds=tuple(query.kind),
        session=query.session,
        since=None if query.since is None else parse_moment(query.since, call.engine.clock.now()),
        noise=query.noise,
    )
    past = PastEnvelopes(call.engine)
    return await past.page(wanted, query.limit, last=query.last, after=query.after, cursor=query.cursor)


@endpoint(
    "GET",
    "/api/history/events/{id}/trace",
    query=TraceQuery,
    answer=TraceAnswer,
    right=Right.LOGS,
    errors=(404, 409),
)
async def trace(call: ApiCall) -> object:
    """Show what an event has caused; its id may be cut, or be its seq, `last` or `last-failed`."""
    found = await _past(call).find(call.path["id"])
    query: TraceQuery = call.query
    return answer_of(found, limit=query.limit, payload=query.payload, mermaid=query.mermaid)


@endpoint("GET", "/api/history/lines", query=LinesQuery, answer=LinesPage, right=Right.LOGS)
def lines(call: ApiCall) -> object:
    """Return lines that workers wrote, by worker, by run or by event; without `after`, the newest."""
    query: LinesQuery = call.query
    wanted = log_lines.Lines(
        workers=frozenset(query.worker),
        invocation=query.invocation,
        level=query.level,
        text=query.text,
        since=None if query.since is None else parse_moment(query.since, datetime.now(UTC)),
    )
    instance = call.engine.log.instance_id
    is_other = query.instance_id is not None and query.instance_id != instance
    page = log_lines.lines_page(
        call.engine.logs, instance, wanted, after=None if is_other else query.after, limit=query.limit
    )
    page.reset = page.reset or is_other
    return page


@endpoint("GET", "/api/history/workers", answer=WorkersAnswer, right=Right.DETAILS)
def workers(call: ApiCall) -> object:
    """Tell of each worker since when it is in its state, and what it has handled since its start."""
    found = call.engine.workers()
    shown = [activity_of(worker, call.engine.totals) for worker in found[:WORKERS_SHOWN]]
    return WorkersAnswer(shown, len(found) - len(shown))


def _past(call: ApiCall) -> Past:
    return Past(call.engine, Suggestions(call.engine).kinds_heard)


endpoints = [list_events, envelopes, trace, lines, workers]
