"""The shapes in which the API shows sessions, capabilities, tools and logs (contract 9)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


def iso(moment: datetime) -> str:
    """Return a moment in UTC as the wire has it: ISO-8601 with microseconds and `Z`."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


class SessionWire(msgspec.Struct, kw_only=True):
    """One session as a runtime without a platform shows it (contract 6.6). Dates are ISO-8601 text."""

    session_id: str
    group_id: str | None = None
    project: str | None = None
    created_at: str = ""
    updated_at: str | None = None
    message_count: int = 0
    session_dir: str | None = None
    capability: str | None = None
    agent: str | None = None
    model: str | None = None
    title: str | None = None
    preview: str | None = None
    policy_name: str = "interactive"
    policy_is_autonomous: bool = False
    policy_display_label: str = ""
    origin: str = "user"
    labels: dict[str, list[str]] = msgspec.field(default_factory=dict)
    total_tokens: int = 0
    total_tool_call_count: int = 0
    total_cost_usd: float | None = None
    last_generation_input_tokens: int | None = None


class SessionCreator(msgspec.Struct, kw_only=True):
    """Who created a session on a platform."""

    id: str | None = None
    email: str | None = None
    username: str | None = None
    full_name: str | None = None


class SessionInfo(SessionWire, kw_only=True):
    """One session as a client sees it (contract 9); what only a platform knows has its default."""

    visibility: str = "private"
    archived_at: str | None = None
    frozen_at: str | None = None
    frozen_by: str | None = None
    created_by: SessionCreator | None = None
    user_id: str | None = None


class ComponentInfo(msgspec.Struct, kw_only=True):
    """One worker, check or other part of a capability, with its status."""

    kind: str
    name: str
    status: str
    error: str | None = None
    detail: str | None = None
    qualified_name: str | None = None
    capability: str | None = None
    transport: str | None = None
    tool_count: int | None = None
    when: list[str] | None = None


class CapabilityInfo(msgspec.Struct, kw_only=True):
    """One capability: its path, what it declares, the status of its components."""

    name: str
    display_name: str
    canonical_name: str | None = None
    local_path: str | None = None
    source: str = "local"
    provenance: str = "local"
    version: str | None = None
    description: str | None = None
    author: dict[str, str] | None = None
    license: str | None = None
    origin: str | None = None
    enabled: bool = True
    binding_id: str | None = None
    update_available: bool | None = None
    flags: list[dict[str, Any]] = msgspec.field(default_factory=list)
    components: list[ComponentInfo] = msgspec.field(default_factory=list)
    dependencies: dict[str, Any] | None = None
    checks: list[dict[str, str]] = msgspec.field(default_factory=list)
    entry_agent: str | None = None
    skills_paths: list[str] = msgspec.field(default_factory=list)
    agents: list[dict[str, Any]] = msgspec.field(default_factory=list)


class SkillInfo(msgspec.Struct, kw_only=True):
    """One skill; `qualified_id` is `capability:skill` (contract 9)."""

    name: str
    description: str = ""
    qualified_id: str = ""
    source: str | None = None
    capability: str | None = None


class ToolInfo(msgspec.Struct, kw_only=True):
    """One tool that agents may call (contract 9)."""

    name: str
    wire_name: str | None = None
    source: str | None = None
    server: str | None = None
    description: str = ""
    capability: str | None = None
    parameters_schema: dict[str, Any] | None = None


class LimitUse(msgspec.Struct, kw_only=True):
    """One limit of a runtime, in bytes, seconds or connections, and what is used of it; None if not measured.

    `dropped` counts the events, runs, lines or entries that had to go because it was used up.
    """

    limit: float
    used: float | None = None
    dropped: int | None = None


class TelemetryUse(msgspec.Struct, kw_only=True):
    """How one signal of OpenTelemetry does.

    Attributes:
        signal: `traces`, `metrics` or `logs`.
        endpoint: where it is sent to.
        sent: spans, metrics or lines that the collector has taken.
        dropped: those that it has not taken, or that there was no room for.
        limited: spans that were left out, as there were too many a second.
        waiting: those that are to be sent.
        failing_since: since when the collector takes nothing; None where it does.
        failure: why, in words.
    """

    signal: str
    endpoint: str
    sent: int = 0
    dropped: int = 0
    limited: int = 0
    waiting: int = 0
    failing_since: datetime | None = None
    failure: str | None = None


class RuntimeInfo(msgspec.Struct, kw_only=True):
    """The runtime and its capabilities (contract 6.3).

    `limits`, `telemetry` and `attached_to` are ours, None of another runtime; `telemetry` also where it is
    off. `attached_to` is the id of the runtime whose events it gets, where that has one.
    """

    status: str = "ok"
    version: str
    runtime_id: str | None = None
    host_type: str = "local"
    working_dir: str = ""
    default_capability: str | None = None
    capabilities: list[CapabilityInfo] = msgspec.field(default_factory=list)
    limits: dict[str, LimitUse] | None = None
    telemetry: list[TelemetryUse] | None = None
    attached_to: str | None = None


class SessionListResult(msgspec.Struct, kw_only=True):
    """One page of a platform's sessions (contract 9)."""

    sessions: list[SessionInfo] = msgspec.field(default_factory=list)
    total: int = 0
    page: int = 1
    limit: int = 20
    total_pages: int = 0
    has_next: bool = False
    has_previous: bool = False


class SessionFacets(msgspec.Struct, kw_only=True):
    """How often each label is used: `{key: [{value, count}]}` (contract 9)."""

    labels: dict[str, list[dict[str, Any]]] = msgspec.field(default_factory=dict)


class LogRecord(msgspec.Struct, kw_only=True):
    """One record; `sequence` rises by one."""

    sequence: int
    timestamp: str
    level: str
    level_no: int
    source: str
    message: str
    truncated: bool = False


class LogPage(msgspec.Struct, kw_only=True):
    """A page of records, oldest first.

    `next_cursor` is the cursor of the next request; `reset` is whether the requested instance is gone, `gap`
    whether records after the cursor were dropped before the request.
    """

    instance_id: str
    next_cursor: int
    reset: bool
    gap: bool
    entries: list[LogRecord]
