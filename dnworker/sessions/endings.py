"""What is left of a turn: its messages, and the payload of its last event (contract 5.2); used by `Turns`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from dnworker.core.handler_error import describe
from dnworker.core.masking import mask
from dnworker.core.text import valid_text
from dnworker.sessions.session import Message
from dnworker.sessions.turn import Turn, TurnFailure

if TYPE_CHECKING:
    from dnworker.sessions.session import Session


def add_to(session: Session, turn: Turn, now: str) -> None:
    """Add the messages of a turn that was answered to its session, and count it."""
    who = {"agent": turn.agent, "model": turn.model}
    add = partial(_add, session, now)
    add("user", turn.message, {**turn.request.metadata, **who})
    for done in turn.transcript.generations:
        add("assistant", done.text, {"generation_stop_reason": done.stop_reason, **who})
        for call in done.calls:
            message = add("tool", call.result_text)
            message.tool_call_id, message.tool_name = call.id, call.name
            message.tool_args = mask(call.arguments)
    session.completed_turns += 1
    used = turn.transcript.usage
    session.tokens += used.input_tokens + used.output_tokens
    session.tool_calls += len(turn.transcript.tool_calls)
    session.last_input_tokens = turn.transcript.last_input_tokens or session.last_input_tokens
    cost = turn.transcript.cost
    session.cost = None if cost is None or session.cost is None else session.cost + cost


def _add(
    session: Session, now: str, role: str, content: str, metadata: dict[str, Any] | None = None
) -> Message:
    message = Message(role=role, content=content, metadata=metadata, created_at=now)
    session.messages.append(message)
    return message


def completed(session: Session, turn: Turn, duration_ms: int) -> dict[str, Any]:
    """Return what `turn.completed` says; the session has counted the turn."""
    transcript = turn.transcript
    used = transcript.usage
    return {
        "turn_id": turn.id,
        "response_text": transcript.text,
        "generation_stop_reason": transcript.stop_reason,
        "tool_calls": [call.masked() | {"result": call.result_text} for call in transcript.tool_calls],
        "usage": {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens},
        "duration_ms": duration_ms,
        "agent": turn.agent,
        "message_count": session.completed_turns,
    }


def failed(turn: Turn, type_: str, message: str, duration_ms: int) -> dict[str, Any]:
    """Return what `turn.failed` says."""
    return {
        "turn_id": turn.id,
        "error": {"type": type_, "message": message},
        "partial_response": turn.transcript.text or None,
        "tool_calls_attempted": [call.masked() for call in turn.transcript.tool_calls],
        "duration_ms": duration_ms,
    }


def cancelled(turn: Turn, duration_ms: int) -> dict[str, Any]:
    """Return what `turn.cancelled` says of a turn that had begun."""
    reason = turn.cancel_reason
    return {
        "turn_id": turn.id,
        "reason": reason,
        "partial_response": turn.transcript.text or None,
        "dropped_queued": turn.dropped,
        "duration_ms": duration_ms,
        "raw_event": {"type": "cancelled", "data": {"reason": reason}},
    }


def type_and_message(exc: BaseException) -> tuple[str, str]:
    """Return the type and the message of an error, as `turn.failed` has them."""
    if issubclass(type(exc), TurnFailure):
        return exc.type, valid_text(str(exc))  # type: ignore[attr-defined]  # not by isinstance(), which asks the object
    error = describe(exc)
    return error.type, error.message or error.type
