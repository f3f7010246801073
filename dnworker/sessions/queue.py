"""`TurnQueue`: what runs and what waits in one session; kept by `Turns`, read by server and panel."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.errors import Conflict, Invalid
from dnworker.sessions.prompts import PendingPrompt, Response

if TYPE_CHECKING:
    from dnworker.sessions.turn import Turn

ANSWERS_KEPT = 100
"""Ids of answered prompts that are remembered, to say so to whoever answers one again."""

STARTED_KEPT = 1_000
"""Turns that are remembered by their ids, to start none twice."""


class TurnQueue(msgspec.Struct, eq=False):
    """The turns of one session that have not ended, and the prompts that are open."""

    active: Turn | None = None
    waiting: deque[Turn] = msgspec.field(default_factory=deque)
    prompts: dict[str, PendingPrompt] = msgspec.field(default_factory=dict)
    """The open prompts by request id, the newest last."""
    answered: deque[str] = msgspec.field(default_factory=lambda: deque(maxlen=ANSWERS_KEPT))
    started: dict[str, asyncio.Task[None] | None] = msgspec.field(default_factory=dict)
    """The newest turns that were started here, by id, those that have ended too, with what keeps them."""
    is_ending: bool = False
    """Whether the session is being deleted: no turn is accepted."""

    @property
    def turns(self) -> list[Turn]:
        """The active turn, then those that wait, in their order."""
        return [*self.waiting] if self.active is None else [self.active, *self.waiting]

    @property
    def phase(self) -> str:
        """`idle`, `running`, `awaiting_input` or `awaiting_permission`."""
        if self.active is None:
            return "idle"
        if not self.prompts:
            return "running"
        newest = next(reversed(self.prompts.values()))
        return "awaiting_permission" if newest.is_permission else "awaiting_input"

    def note_started(self, turn: Turn) -> None:
        """Remember a turn by its id."""
        self.started[turn.id] = turn.keeping
        if len(self.started) > STARTED_KEPT:
            del self.started[next(iter(self.started))]

    async def accepted(self, turn_id: str) -> None:
        """Return when a turn that was started here was accepted; raises as `Turn.accepted` does."""
        if (keeping := self.started.get(turn_id)) is not None:
            await asyncio.shield(keeping)

    async def settled(self) -> None:
        """Return when each turn that waits was accepted, or dropped for it could not be kept."""
        if keeping := [turn.keeping for turn in self.waiting if turn.keeping and not turn.keeping.done()]:
            await asyncio.wait(keeping)

    def take_prompt(self, session_id: str, response: Response) -> PendingPrompt | None:
        """Return the open prompt that a response answers, which is open no longer.

        None where a decision on a permission that is not open changes nothing.

        Raises:
            Invalid: an answer is missing, or says nothing.
            Conflict: the question was answered, or there is none.
        """
        pending = self.prompts.get(response.request_id)
        if pending is not None and pending.answer.done():  # its turn has ended
            pending = None
        if pending is None or pending.is_permission != (response.decision is not None):
            if response.decision is not None:
                return None
            if response.request_id in self.answered:
                raise Conflict(f"question {response.request_id!r} was answered already", code="DN608")
            raise Conflict(
                f"no question {response.request_id!r} is open in session {session_id!r}", code="DN608"
            )
        questions, answers = pending.prompt.questions, response.answers
        if answers is not None and (len(answers) != len(questions) or not all(a.content for a in answers)):
            raise Invalid(
                f"{len(questions)} answer(s) are wanted, each with text, custom_text or selected_labels, "
                'as in {"answers": [{"selected_labels": ["red"]}]}',
                code="DN608",
            )
        del self.prompts[response.request_id]
        self.answered.append(response.request_id)
        return pending

    def find_waiting(self, turn_id: str) -> Turn | None:
        """Return the waiting turn of this id."""
        return next((turn for turn in self.waiting if turn.id == turn_id), None)
