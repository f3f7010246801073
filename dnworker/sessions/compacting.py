"""Replaces the messages of a session by a summary (contract 6.6); called by `turns.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dnworker.sessions.session import Message
from dnworker.sessions.turn import TurnFailure

if TYPE_CHECKING:
    from dnworker.sessions.agents import Agents
    from dnworker.sessions.session import Session


NO_MODEL = "a script answers here; a summary needs a model: runtime.agents.use_model(...)"


async def compact(session: Session, guidance: str, agents: Agents, now: str) -> dict[str, Any]:
    """Replace a session's messages by a summary that its model writes, and tell what became of it."""
    before = len(session.messages)
    if before < 3:
        return {"status": "skipped", "reason": "insufficient_messages"}
    kept = [*session.messages]
    ask = "Summarise the conversation so far for whoever goes on with it; keep names and decisions."
    conversation = [{"role": "user", "content": f"{m.role}: {m.content}"} for m in session.messages]
    name = agents.name_for(session)
    try:
        model = agents.plain_model(name, agents.model_for(session))
        request = {"role": "user", "content": f"{ask} {guidance}".strip()}
        summary = await model.complete([*conversation, request])
    except TurnFailure as exc:
        reason = NO_MODEL if exc.type == "ModelNotConfigured" else str(exc)
        return {"status": "failed", "reason": reason, "messages_before": before}
    if session.messages[:before] != kept:
        return {"status": "failed", "reason": "the messages changed meanwhile", "messages_before": before}
    session.messages[:before] = [
        Message(role="system", content=summary, metadata={"compacted": before}, created_at=now)
    ]
    return {"status": "completed", "messages_before": before, "messages_after": len(session.messages)}
