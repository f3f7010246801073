"""`template`: a realistic payload of each kind that the runtime publishes (contract 5.2), for firing."""

from __future__ import annotations

import copy
from typing import Any

_ERROR = {"type": "BadRequestError", "message": "the provider refused the request"}
_TOOL_CALL = {"name": "demo__add", "arguments": {"a": 2, "b": 3}}
_RAW = {"type": "generationcontent", "agent_name": "triage", "status": "running"}
_QUESTION = {"kind": "choice", "prompt": "Go on?", "options": [{"label": "yes", "description": "continue"}]}
_SYNC = {"state": "degraded", "last_error": "timeout", "last_attempt_at": None}

SAMPLES: dict[str, dict[str, Any]] = {
    "session.created": {"session_id": "session-1"},
    "session.deleted": {"session_id": "session-1"},
    "session.warning": {
        "code": "platform_sync_degraded",
        "message": "the platform did not answer",
        "sync_status": _SYNC,
    },
    "turn.accepted": {
        "agent": "triage",
        "model": None,
        "reset": False,
        "message_length": 42,
        "queue_depth": 1,
    },
    "turn.started": {"agent": "triage", "model": "openai/x-1"},
    "turn.event": {
        "event_type": "generationcontent",
        "raw_event": {**_RAW, "data": {"step": 1, "content": "Looking into it."}},
    },
    "prompt.required": {
        "event_type": "userinputrequired",
        "raw_event": {"type": "userinputrequired", "data": {"request_id": "req-1", "questions": [_QUESTION]}},
    },
    "transport.heartbeat": {"event_type": "heartbeat", "raw_event": {"type": "heartbeat", "data": {}}},
    "turn.completed": {
        "turn_id": "turn-1",
        "response_text": "Done.",
        "generation_stop_reason": "stop",
        "tool_calls": [{**_TOOL_CALL, "result": "5"}],
        "usage": {"input_tokens": 22, "output_tokens": 14},
        "duration_ms": 147,
        "agent": "triage",
        "message_count": 2,
    },
    "turn.failed": {
        "turn_id": "turn-1",
        "error": _ERROR,
        "partial_response": None,
        "tool_calls_attempted": [],
        "duration_ms": 207,
    },
    "turn.cancelled": {
        "turn_id": "turn-1",
        "reason": "user_interrupt",
        "partial_response": "Looking",
        "dropped_queued": 0,
        "duration_ms": 90,
        "raw_event": {"type": "cancelled", "data": {"reason": "user_interrupt"}},
    },
    "capabilities.reloaded": {"capability_count": 1},
    "component.state_changed": {
        "capability": "demo",
        "name": "relay",
        "kind": "worker",
        "status": "ok",
        "error": None,
        "detail": None,
    },
    "notify": {"source": "capability.demo", "title": "Hello", "body": None, "severity": "info"},
}

TERMINAL_KINDS = frozenset({"turn.completed", "turn.failed", "turn.cancelled"})
"""The kinds of a turn's last event."""

DEFAULT_SESSION = "session-1"
"""The session of a fired event that names none though its kind belongs to a session."""

DEFAULT_TURN = "turn-1"
"""The turn of a fired event that names none though its kind belongs to a turn."""

_OF_TURNS = ("turn.", "prompt.")
_HEARTBEAT = "transport.heartbeat"


def sample(kind: str, session_id: str | None = None) -> dict[str, Any]:
    """Return a copy of the sample payload of `kind`, in a session; an empty one for any other kind."""
    return in_session(SAMPLES.get(kind, {}), session_id)


def in_session(payload: dict[str, Any], session_id: str | None) -> dict[str, Any]:
    """Return a copy of a payload that names this session where it names one.

    Of the kinds of the runtime, `session.created` and `session.deleted` do (contract 5.2, 11.2).
    """
    copied = copy.deepcopy(payload)
    if session_id is not None and "session_id" in copied:
        copied["session_id"] = session_id
    return copied


def belongs_to_session(kind: str) -> bool:
    """Return whether the runtime publishes this kind within a session."""
    return kind.startswith(("session.", *_OF_TURNS)) or kind == _HEARTBEAT


def belongs_to_turn(kind: str) -> bool:
    """Return whether the runtime publishes this kind within a turn."""
    return kind.startswith(_OF_TURNS) or kind == _HEARTBEAT
