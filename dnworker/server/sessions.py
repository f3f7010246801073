"""The endpoints of sessions; what needs a platform answers as a reference without one (contract 6.6)."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from dnworker.core.errors import ApiError, Conflict, NotFound
from dnworker.core.models import SessionWire, iso
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.rights import Right
from dnworker.sessions import snapshots
from dnworker.sessions.checks import check_names
from dnworker.sessions.policies import resolve_policy
from dnworker.sessions.queue import TurnQueue
from dnworker.sessions.session import Message, Session

NO_PLATFORM = "this runtime has no platform"

live = partial(endpoint, session="live")
"""Declares what is done to a session that is there, on the node that runs it."""


class NewMessage(Fields):
    """One message that a session begins with."""

    role: Literal["user", "assistant", "system", "tool"]
    content: str
    metadata: dict[str, Any] | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    tool_args: dict[str, Any] | str | None = None


class CreateSession(Fields):
    """What a session is made of; every field may be left out."""

    aliases: ClassVar[dict[str, str]] = {
        "sessionId": "session_id",
        "groupId": "group_id",
        "generateParamsExtra": "generate_params_extra",
        "projectMemoryScopeKind": "project_memory_scope_kind",
        "enableProjectMemoryPreload": "enable_project_memory_preload",
        "projectMemoryPreloadLimit": "project_memory_preload_limit",
    }

    session_id: str | None = None
    group_id: str | None = None
    capability: str | None = None
    agent: str | None = None
    model: str | None = None
    project: str | None = None
    messages: list[NewMessage] | None = None
    generate_params_extra: dict[str, Any] | None = None
    policy: str | dict[str, Any] | None = None
    labels: dict[str, list[str]] | None = None
    origin: str | None = None
    engine: str | None = None
    project_memory_scope_kind: str | None = None
    enable_project_memory_preload: bool | None = None
    project_memory_preload_limit: Annotated[int, Meta(ge=1, le=200)] | None = None


class SessionsQuery(Fields):
    """Which sessions to list."""

    include_platform: bool = False


class Title(Fields):
    """A session's new title."""

    title: str


class PolicyChange(Fields):
    """A policy's name, a mapping with its name and parameters, or null for `interactive`."""

    policy: str | dict[str, Any] | None


class Guidance(Fields):
    """What a summary should keep."""

    guidance: str = ""


class Restore(Fields):
    """A session as it was saved."""

    messages: list[NewMessage]
    model: str | None = None
    project: str | None = None
    capability: str | None = None
    agent: str | None = None
    trajectory: Any = None


class Rewind(Fields):
    """The message to go back to: it and all after it are dropped."""

    from_seq: Annotated[int, Meta(ge=0)]


class FacetsQuery(Fields):
    """Filters of the platform's sessions."""

    archived: str = "active"
    label: list[str] = []
    user_id: str | None = None
    project_id: list[str] = []
    origin: list[str] = []
    search: str | None = None
    include_workload_sessions: bool = False


class BrowseQuery(FacetsQuery):
    """Filters and paging of the platform's sessions."""

    page: Annotated[int, Meta(ge=1)] = 1
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    sort_by: str = "updated_at"
    sort_dir: str = "desc"


class NewGroup(Fields):
    """A group of sessions, kept by a platform."""

    title: str | None = None
    kind: Literal["worker_run", "evaluation_item", "workflow"] = "workflow"
    status: str | None = None
    project: str | None = None
    runtime_id: str | None = None
    capability: str | None = None
    capability_version: str | None = None
    worker: str | None = None
    metadata: dict[str, Any] | None = None


class GroupChange(Fields):
    """How a group goes on."""

    title: str | None = None
    status: Literal["running", "completed", "failed", "cancelled"] | None = None


class Deleted(msgspec.Struct):
    """What a session's end, archive or title answers."""

    status: str
    session_id: str


class Titled(Deleted, kw_only=True):
    """The title as it is now."""

    title: str


class PolicyState(Deleted, kw_only=True):
    """The policy as it is now."""

    policy_name: str
    policy_is_autonomous: bool
    policy_display_label: str


class Statuses(msgspec.Struct):
    """What every session is doing."""

    sessions: dict[str, snapshots.SessionStatus]


def _session(call: ApiCall) -> Session:
    return call.engine.sessions.get(call.path["session_id"])


@endpoint("GET", "/api/sessions", right=Right.SESSIONS, query=SessionsQuery, answer=list[SessionWire])
async def listing(call: ApiCall) -> object:
    """List the live sessions, the newest change first."""
    return [session.info() for session in await call.engine.commands.shared.all()]


@endpoint(
    "POST",
    "/api/sessions",
    right=Right.SESSIONS,
    body=CreateSession,
    answer=SessionWire,
    errors=(409, 507),
    session="any",
)
async def create(call: ApiCall) -> object:
    """Create a session, or return the live one of that id."""
    shared = call.engine.commands.shared
    if call.body.session_id is None and shared.is_on:
        session_id = str(uuid.uuid4())
        return await shared.call(session_id, "open", {}, lambda: _create(call, session_id))
    return await _create(call, call.body.session_id)


async def _create(call: ApiCall, session_id: str | None) -> SessionWire:
    body: CreateSession = call.body
    session = call.engine.sessions.create(
        session_id,
        capability=body.capability,
        agent=body.agent,
        model=body.model,
        project=body.project,
        group_id=body.group_id,
        labels=body.labels,
        origin=body.origin,
        policy=body.policy,
        messages=_messages(call, body.messages),
    )
    await call.engine.sessions.kept(session)
    return session.info()


@endpoint("GET", "/api/sessions/status", right=Right.SESSIONS, answer=Statuses)
async def status(call: ApiCall) -> object:
    """Tell what every session is doing."""
    queue, sessions = call.engine.turns.queue, await call.engine.commands.shared.all()
    return Statuses({s.session_id: snapshots.status(s, queue(s)) for s in sessions})


@endpoint("GET", "/api/sessions/browse", right=Right.SESSIONS, query=BrowseQuery)
def browse(call: ApiCall) -> object:
    """Browse the platform's sessions: there are none without one."""
    paging = {"page": call.query.page, "limit": call.query.limit, "total": 0, "total_pages": 0}
    return {"sessions": [], **paging, "has_next": False, "has_previous": False}


@endpoint("GET", "/api/sessions/facets", right=Right.SESSIONS, query=FacetsQuery)
def facets(call: ApiCall) -> object:
    """Count the labels of the platform's sessions: there are none without one."""
    return {"labels": {}}


@endpoint("GET", "/api/sessions/{session_id}", right=Right.SESSIONS, answer=SessionWire, errors=(404,))
async def get(call: ApiCall) -> object:
    """Return one session."""
    return (await call.engine.commands.shared.find(call.path["session_id"])).info()


@live("DELETE", "/api/sessions/{session_id}", right=Right.SESSIONS, answer=Deleted, errors=(404,))
async def delete(call: ApiCall) -> object:
    """Cancel what a session does, and end it."""
    session_id = call.path["session_id"]
    await call.engine.turns.end_session(session_id)
    return Deleted("deleted", session_id)


@endpoint(
    "GET", "/api/sessions/{session_id}/messages", right=Right.SESSIONS, answer=list[Message], errors=(404,)
)
async def messages(call: ApiCall) -> object:
    """Return the messages of a session, oldest first."""
    shown = []
    for message in await call.engine.commands.shared.messages(call.path["session_id"]):
        fields = msgspec.to_builtins(message)
        fields.pop("created_at")
        shown.append(fields)
    return shown


@live(
    "POST",
    "/api/sessions/{session_id}/title",
    right=Right.SESSIONS,
    body=Title,
    answer=Titled,
    errors=(404, 507),
)
async def title(call: ApiCall) -> object:
    """Give the session a title."""
    session = _session(call)
    check_names(title=call.body.title)
    session.title = call.body.title
    call.engine.sessions.touch(session)
    await call.engine.sessions.kept(session)
    return Titled("ok", session.session_id, title=session.title)


@live(
    "POST",
    "/api/sessions/{session_id}/policy",
    right=Right.SESSIONS,
    body=PolicyChange,
    answer=PolicyState,
    errors=(400, 404, 507),
)
async def policy(call: ApiCall) -> object:
    """Change how much the session's agent may do without asking."""
    session = _session(call)
    try:
        session.policy = chosen = resolve_policy(call.body.policy)
    except ValueError as exc:
        raise ApiError(str(exc), code="DN613") from exc
    call.engine.sessions.note(session)
    await call.engine.sessions.kept(session)
    return PolicyState(
        "ok",
        session.session_id,
        policy_name=chosen.name,
        policy_is_autonomous=chosen.autonomous,
        policy_display_label=chosen.label,
    )


@live("POST", "/api/sessions/{session_id}/cancel", right=Right.TURNS, answer=Deleted, errors=(404,))
async def cancel(call: ApiCall) -> object:
    """Cancel the session's active turn."""
    session = _session(call)
    status = await call.engine.turns.cancel(session.session_id)
    await call.engine.sessions.kept(session)
    return Deleted(status, session.session_id)


@live("POST", "/api/sessions/{session_id}/compact", right=Right.TURNS, body=Guidance, errors=(404,))
async def compact(call: ApiCall) -> object:
    """Replace the session's messages by a summary."""
    session = _session(call)
    answer = await call.engine.turns.compact(session, call.body.guidance)
    await call.engine.sessions.kept(session)
    return answer


@endpoint(
    "POST",
    "/api/sessions/{session_id}/restore",
    session="any",
    right=Right.SESSIONS,
    body=Restore,
    errors=(400, 409),
)
async def restore(call: ApiCall) -> object:
    """Make the session what it was when it was saved; it is created if need be."""
    body: Restore = call.body
    if call.path["session_id"] in call.engine.sessions and _queue(call).active is not None:
        raise Conflict("a turn is under way in this session; cancel it first", code="DN603")
    session = call.engine.sessions.create(
        call.path["session_id"],
        capability=body.capability,
        agent=body.agent,
        model=body.model,
        project=body.project,
    )
    session.messages = _messages(call, body.messages) or []
    call.engine.sessions.touch(session)
    await call.engine.sessions.kept(session)
    steps = body.trajectory.get("steps") if isinstance(body.trajectory, dict) else body.trajectory
    return {
        "status": "restored",
        "sessionId": session.session_id,
        "messageCount": len(session.messages),
        "stepCount": len(steps) if isinstance(steps, list) else 0,
        "capability": session.capability,
        "agent": session.agent,
        "project": session.project,
    }


@endpoint("GET", "/api/sessions/{session_id}/rewind/candidates", right=Right.SESSIONS, errors=(404,))
async def rewind_candidates(call: ApiCall) -> object:
    """Tell to which of its messages the session can go back: those of the user."""
    said = await call.engine.commands.shared.messages(call.path["session_id"])
    found = [
        {"seq": number, "content": message.content, "created_at": message.created_at}
        for number, message in enumerate(said)
        if message.role == "user"
    ]
    return {"status": "ok", "candidates": found}


@live("POST", "/api/sessions/{session_id}/rewind", right=Right.SESSIONS, body=Rewind, errors=(404,))
async def rewind(call: ApiCall) -> object:
    """Drop a message and all after it."""
    session = _session(call)
    if _queue(call).active is not None:
        return {"status": "failed", "reason": "a turn is under way"}
    if call.body.from_seq >= len(session.messages):
        return {"status": "failed", "reason": f"there is no message {call.body.from_seq}"}
    del session.messages[call.body.from_seq :]
    call.engine.sessions.touch(session)
    await call.engine.sessions.kept(session)
    return {"status": "ok"}


@endpoint("POST", "/api/sessions/{session_id}/archive", right=Right.SESSIONS, errors=(404,))
def archive(call: ApiCall) -> object:
    """Archiving needs a platform."""
    raise NotFound(f"archiving sessions needs a platform; {NO_PLATFORM}", code="DN609")


@endpoint("POST", "/api/sessions/{session_id}/unarchive", right=Right.SESSIONS, errors=(404,))
def unarchive(call: ApiCall) -> object:
    """Archiving needs a platform."""
    raise NotFound(f"archiving sessions needs a platform; {NO_PLATFORM}", code="DN609")


@endpoint("POST", "/api/sessions/{session_id}/freeze", right=Right.SESSIONS, errors=(404,))
def freeze(call: ApiCall) -> object:
    """Freezing needs a platform."""
    raise NotFound(f"freezing sessions needs a platform; {NO_PLATFORM}", code="DN609")


@endpoint("POST", "/api/session-groups", right=Right.SESSIONS, body=NewGroup, errors=(404,))
def open_group(call: ApiCall) -> object:
    """Grouping sessions needs a platform."""
    raise NotFound(f"session groups need a platform; {NO_PLATFORM}", code="DN609")


@endpoint("PATCH", "/api/session-groups/{group_id}", right=Right.SESSIONS, body=GroupChange, errors=(404,))
def change_group(call: ApiCall) -> object:
    """Grouping sessions needs a platform."""
    raise NotFound(f"session groups need a platform; {NO_PLATFORM}", code="DN609")


def _queue(call: ApiCall) -> TurnQueue:
    return call.engine.turns.queue(_session(call))


def _messages(call: ApiCall, given: list[NewMessage] | None) -> list[Message] | None:
    now = iso(call.engine.clock.now())
    if given is None:
        return None
    return [Message(**msgspec.to_builtins(m), created_at=now) for m in given]


endpoints = [
    listing, create, status, browse, facets, get, delete, messages, title, policy, cancel, compact, restore,
    rewind_candidates, rewind, archive, unarchive, freeze, open_group, change_group,
]  # fmt: skip
