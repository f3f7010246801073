"""The parts `sessions`, the list, and `session`, one of them with its messages and prompts; for `parts`.

sessions: {} -> {"newest": [brief], "all": 12}
session: {"session": id} -> {"id": id, "detail": brief + {"history", "underWay", "openPrompts"} or null}
"""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.errors import ApiError
from dnworker.panel.serialize import LONGEST_TEXT
from dnworker.sessions import snapshots

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.panel.pace import Pace
    from dnworker.sessions.queue import TurnQueue
    from dnworker.sessions.session import Session

log = logging.getLogger("dnworker.panel")

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


async def one_to_json(engine: Engine, session_id: str) -> dict[str, Any]:
    """Return one session; its `detail` is None where there is none of this id any more."""
    session = engine.sessions.get(session_id) if session_id in engine.sessions else None
    if session is not None and not session.is_here and session.newest is None:
        try:
            session.newest = (await engine.commands.shared.messages(session_id))[-MESSAGES_SHOWN:]
        except ApiError as exc:  # the next change is read again
            log.info("the messages of session %s are not shown: %s", session_id, exc)
            session.newest = []
    detail = None if session is None else session_to_json(session, engine.turns.queue(session))
    return {"id": session_id, "detail": detail}


def session_brief(session: Session, queue: TurnQueue) -> dict[str, Any]:
    """Return a session as the list shows it."""
    doing = snapshots.status(session, queue)
    return {
        "id": session.session_id,
        "title": None if session.title is None else session.title[:LONGEST_TITLE],
        "agent": session.agent,
        "phase": doing.turn_phase,
        "messages": session.count,
        "turns": session.completed_turns,
        "waiting": doing.queue_depth,
        "prompts": len(queue.prompts) if session.is_here else len(session.prompts),
        "updated": session.updated_at,
    }


def session_to_json(session: Session, queue: TurnQueue) -> dict[str, Any]:
    """Return a session with its newest messages, its turns, and its open prompts."""
    messages = (session.messages if session.is_here else session.newest or [])[-MESSAGES_SHOWN:]
    prompts = [pending.prompt for pending in queue.prompts.values()] if session.is_here else session.prompts
    answering = queue.active.agent if queue.active is not None else session.agent
    return session_brief(session, queue) | {
        "agent": answering,
        "model": session.model,
        "tokens": session.tokens,
        "cost": session.cost,
        "earlier": session.count - len(messages) + session.messages_dropped,
        "history": [
            {
                "role": message.role,
                "content": message.content[:LONGEST_TEXT],
                "cut": max(0, len(message.content) - LONGEST_TEXT),
                "tool": message.tool_name,
                "at": message.created_at,
            }
            for message in messages
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
        "openPrompts": [_prompt_to_json(prompt) for prompt in prompts],
    }


def _prompt_to_json(prompt: Any) -> dict[str, Any]:
    """Return a prompt; the arguments of a tool as text, since a browser would round their numbers."""
    found: dict[str, Any] = deepcopy(prompt) if isinstance(prompt, dict) else msgspec.to_builtins(prompt)
    approval = found["tool_approval"]
    if approval is not None:
        text = msgspec.json.format(msgspec.json.encode(approval["arguments"]), indent=2).decode()
        approval["text"] = text[:LONGEST_ARGUMENTS]
        approval["cut"] = max(0, len(text) - LONGEST_ARGUMENTS)
        if approval["cut"]:
            approval["arguments"] = None
    return found
