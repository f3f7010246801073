"""What a session is doing, as clients are told: the snapshot of the socket, and its status in a list."""

from __future__ import annotations

from typing import Any

import msgspec

from dnworker.core.envelope import SCHEMA_VERSION
from dnworker.sessions.queue import TurnQueue
from dnworker.sessions.session import Session


class SessionStatus(msgspec.Struct, kw_only=True):
    """What one session is doing."""

    session_id: str
    active_turn_id: str | None
    is_busy: bool
    queue_depth: int
    turn_phase: str
    pending_prompt: bool


def status(session: Session, queue: TurnQueue) -> SessionStatus:
    """Return what a session is doing; one of another node as that has written it."""
    active, waiting, phase, prompts = _doing(session, queue)
    return SessionStatus(
        session_id=session.session_id,
        active_turn_id=active,
        is_busy=active is not None,
        queue_depth=len(waiting),
        turn_phase=phase,
        pending_prompt=bool(prompts),
    )


def snapshot(session: Session, queue: TurnQueue, latest: int) -> dict[str, Any]:
    """Return the snapshot of a session, whose newest event is `latest` (contract 7.2)."""
    active, waiting, phase, prompts = _doing(session, queue)
    return {
        "schema_version": SCHEMA_VERSION,
        "session_id": session.session_id,
        "latest_seq": latest,
        "active_turn_id": active,
        "queued_turn_ids": waiting,
        "turn_phase": phase,
        "pending_prompt": prompts[0] if prompts else None,
        "pending_prompts": prompts,
        "sync_status": {"state": "disabled", "last_error": None, "last_attempt_at": None},
        "draft_state": {
            "text_visible": bool(queue.active and queue.active.transcript.text),
            "last_generation_input_tokens": session.last_input_tokens,
        },
    }


def prompts_of(queue: TurnQueue) -> list[dict[str, Any]]:
    """Return the open prompts as JSON, the newest last."""
    return [msgspec.to_builtins(pending.prompt) for pending in queue.prompts.values()]


def _doing(session: Session, queue: TurnQueue) -> tuple[str | None, list[str], str, list[dict[str, Any]]]:
    """Return the active turn, those that wait, the phase and the open prompts."""
    if session.is_here:
        active = queue.active.id if queue.active else None
        return active, [turn.id for turn in queue.waiting], queue.phase, prompts_of(queue)
    waiting = [turn_id for turn_id in session.turns if turn_id != session.running]
    if session.running is None:
        return None, waiting, "idle", []
    if not session.prompts:
        return session.running, waiting, "running", []
    is_permission = session.prompts[-1].get("tool_approval") is not None
    phase = "awaiting_permission" if is_permission else "awaiting_input"
    return session.running, waiting, phase, session.prompts
