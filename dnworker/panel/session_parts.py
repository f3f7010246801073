"""The parts `sessions`, the list, and `session`, one of them with its messages and prompts; for `parts`.

sessions: {} -> {"newest": [brief], "all": 12}
session: {"session": id} -> {"id": id, "detail": brief + {"history", "underWay", "openPrompts"} or null}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.panel.serialize import LONGEST_TEXT

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.panel.pace import Pace
    from dnworker.sessions.queue import TurnQueue
    from dnworker.sessions.session import Session

SESSIONS_INTERVAL = 0.25
SESSIONS_SHOWN = 200
MESSAGES_SHOWN = 50
LONGEST_TITLE, LONGEST_ARGUMENTS = 200, 20_000


async def sessions_to_json(engine: Engine, pace: Pace) -> dict[str, Any]:
    """Return the newest sessions as a list shows them, and how many there are."""
    briefs = []
    for session in engine.sessions.newest(SESSIONS_SHOWN):
        briefs.append(session_brief(session, engine.turns.queue(session)))
        await pace.rest()
    return {"newest": briefs, "all": len(engine.sessions)}


def one_to_json(engine: Engine, session_id: str) -> dict[str, Any]:
    """Return one session; its `detail` is None where there is none of this id any more."""
    session = engine.sessions.get(session_id) if session_id in engine.sessions else None
    detail = None if session is None else session_to_json(session, engine.turns.queue(session))
    return {"id": session_id, "detail": detail}


def session_brief(session: Session, queue: TurnQueue) -> dict[str, Any]:
    """Return a session as the list shows it."""
    return {
        "id": session.session_id,
        "title": None if session.title is None else session.title[:LONGEST_TITLE],
        "agent": session.agent,
        "phase": queue.phase,
        "messages": len(session.messages),
        "turns": session.completed_turns,
        "waiting": len(queue.waiting),
        "prompts": len(queue.prompts),
        "updated": session.updated_at,
    }


def session_to_json(session: Session, queue: TurnQueue) -> dict[str, Any]:
    """Return a session with its newest messages, its turns, and its open prompts."""
    answering = queue.active.agent if queue.active is not None else session.agent
    return session_brief(session, queue) | {
        "agent": answering,
        "model": session.model,
        "tokens": session.tokens,
        "cost": session.cost,
        "earlier": max(0, len(session.messages) - MESSAGES_SHOWN) + session.messages_dropped,
        "history": [
            {
                "role": message.role,
                "content": message.content[:LONGEST_TEXT],
                "cut": max(0, len(message.content) - LONGEST_TEXT),
                "tool": message.tool_name,
                "at": message.created_at,
            }
            for message in session.messages[-MESSAGES_SHOWN:]
        ],
        "underWay": [
            {
                "id": turn.id,
                "agent": turn.agent,
                "message": turn.message[:LONGEST_TEXT],
                "active": turn is queue.active,
            }
            for turn in queue.turns
        ],
        "openPrompts": [_prompt_to_json(pending.prompt) for pending in queue.prompts.values()],
    }


def _prompt_to_json(prompt: Any) -> dict[str, Any]:
    """Return a prompt; the arguments of a tool as text, since a browser would round their numbers."""
    found: dict[str, Any] = msgspec.to_builtins(prompt)
    approval = found["tool_approval"]
    if approval is not None:
        text = msgspec.json.format(msgspec.json.encode(approval["arguments"]), indent=2).decode()
        approval["text"] = text[:LONGEST_ARGUMENTS]
        approval["cut"] = max(0, len(text) - LONGEST_ARGUMENTS)
        if approval["cut"]:
            approval["arguments"] = None
    return found
