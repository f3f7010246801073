"""`Turns`: runs the turns of all sessions, one at a time in each (contract 5.2, 7.2).

Server and in-process clients start, cancel and answer turns here.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from dnworker.core.envelope import EventEnvelope, new_id, snapshot, truncate
from dnworker.core.errors import Conflict, Gone, Invalid, TooLarge
from dnworker.core.handler_error import describe
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.masking import mask
from dnworker.core.models import iso
from dnworker.core.text import valid_text
from dnworker.sessions.prompts import PromptCancelled, Response
from dnworker.sessions.queue import TurnQueue
from dnworker.sessions.session import Message, Session
from dnworker.sessions.store import SessionStore, check_names
from dnworker.sessions.turn import Turn, TurnFailure, TurnRequest

if TYPE_CHECKING:
    from dnworker.core.clock import Clock
    from dnworker.events.bus import EventBus
    from dnworker.events.history import History
    from dnworker.sessions.agents import Agents
    from dnworker.sessions.tools import Tools

log = logging.getLogger("dnworker.turns")

CANCEL_GRACE = 5.0
"""Seconds that a cancelled agent gets to end; then its turn is over without it."""


class Turns:
    """The queue of every session and the task of every turn under way.

    A turn belongs to the runtime: it goes on when the client that started it is gone, and when the worker
    that did reloads.
    """

    def __init__(
        self, bus: EventBus, store: SessionStore, agents: Agents, tools: Tools, history: History, clock: Clock
    ) -> None:
        # The parts of the runtime that turns use.
        self._bus = bus
        self._store = store
        self._agents = agents
        self._tools = tools
        self._history = history
        self._clock = clock

        # What runs.
        self._running: set[asyncio.Task[None]] = set()
        self._queues: WeakKeyDictionary[Session, TurnQueue] = WeakKeyDictionary()

    def queue(self, session: Session) -> TurnQueue:
        """Return what runs and what waits in a session."""
        found = self._queues.get(session)
        if found is None:
            found = self._queues[session] = TurnQueue()
        return found

    def open_prompts(self) -> int:
        """Return how many prompts wait for a person, in whatever session."""
        return sum(len(queue.prompts) for queue in self._queues.values())

    def start(self, session: Session, request: TurnRequest) -> Turn:
        """Accept a turn; it runs when those before it in its session have ended.

        Raises:
            Invalid: the message is no text, or the metadata no JSON.
            TooLarge: the names of agent and model are longer than an event may be.
            Conflict: the session is being deleted, or too much waits already.
        """
        self.check(request)
        queue = self.queue(session)
        if queue.is_ending:
            raise Conflict(f"session {session.session_id!r} is being deleted")
        self._store.check_room(request.size)
        agent, model = self._agents.name_for(session, request), self._agents.model_for(session, request)
        turn_id = f"turn_{new_id()}"
        accepted = self._publish_accepted(session, turn_id, request)
        turn = Turn(
            session,
            request,
            turn_id=turn_id,
            invocation=Invocation(f"agent {agent}", "turn", "turn", event=accepted),
            prompts=queue.prompts,
            agent=agent,
            model=model,
            publish=lambda kind, raw: self._publish(
                session, turn, kind, {"event_type": str(raw["type"]), "raw_event": raw}
            ),
            judge=lambda model, call: self._agents.judge(model, turn, call),
            tools=self._tools,
            clock=self._clock,
        )
        self._history.begin(turn.invocation)
        self._store.note_waiting(request.size)
        queue.waiting.append(turn)  # last: a turn that could not be accepted must not be waited for
        self._store.touch(session)
        self._advance(session)
        return turn

    def _publish_accepted(self, session: Session, turn_id: str, request: TurnRequest) -> EventEnvelope:
        payload = {
            "agent": request.agent,
            "model": request.model,
            "reset": request.reset,
            "message_length": len(request.message),
            "queue_depth": len(self.queue(session).turns) + 1,
        }
        return self._bus.publish("turn.accepted", payload, session_id=session.session_id, turn_id=turn_id)

    def check(self, request: TurnRequest) -> None:
        """Check a request before anything is made for it.

        Raises:
            Invalid: the message is no text, the metadata no JSON, or a name too long.
        """
        if not isinstance(request.message, str):
            raise Invalid(f"message must be text, not {request.message!r:.60}")
        check_names(agent=request.agent, model=request.model)
        snapshot(request.metadata)

    async def cancel(
        self,
        session_id: str,
        turn_id: str | None = None,
        *,
        drop_queued: bool = False,
        reason: str = "user_interrupt",
    ) -> str:
        """Cancel the active turn, or the one named; returns `cancelled`, or `idle` when there was none.

        Args:
            session_id: whose turn.
            turn_id: of the active or a waiting turn.
            drop_queued: cancel those that wait, too.
            reason: is published with `turn.cancelled`.

        Raises:
            NotFound: there is no such session.
            Conflict: the turn is neither active nor waiting.
        """
        session = self._store.get(session_id)
        queue = self.queue(session)
        active = queue.active
        if turn_id is not None and (active is None or active.id != turn_id):
            waiting = queue.find_waiting(turn_id)
            if waiting is None:
                raise Conflict(f"turn {turn_id!r} is neither active nor waiting in session {session_id!r}")
            self._drop(session, waiting)
            return "cancelled"
        dropped = [*queue.waiting] if drop_queued else []
        for turn in dropped:
            self._drop(session, turn)
        if active is None or active.task is None:
            return "cancelled" if dropped else "idle"
        active.dropped = len(dropped)
        active.cancel_reason = reason
        active.task.cancel()
        # In a task of its own: the caller may be cancelled, and the turn must end all the same.
        ending = asyncio.create_task(self._end(session, active, active.task), name=f"cancel {active.id}")
        self._running.add(ending)
        ending.add_done_callback(self._running.discard)
        await asyncio.shield(ending)
        return "cancelled"

    def respond(self, session_id: str, response: Response) -> None:
        """Answer a question or a permission of the session's turn.

        Raises:
            NotFound: there is no such session.
            Invalid: an answer is missing, or says nothing.
            Conflict: the question was answered, or there is none; a decision on a permission that is not open
                changes nothing.
        """
        queue = self.queue(self._store.get(session_id))
        pending = queue.prompts.get(response.request_id)
        if pending is not None and pending.answer.done():  # its turn has ended
            pending = None
        if pending is None or pending.is_permission != (response.decision is not None):
            if response.decision is not None:
                return
            if response.request_id in queue.answered:
                raise Conflict(f"question {response.request_id!r} was answered already")
            raise Conflict(f"no question {response.request_id!r} is open in session {session_id!r}")
        questions, answers = pending.prompt.questions, response.answers
        if answers is not None and (len(answers) != len(questions) or not all(a.content for a in answers)):
            raise Invalid(
                f"{len(questions)} answer(s) are wanted, each with text, custom_text or selected_labels, "
                'as in {"answers": [{"selected_labels": ["red"]}]}'
            )
        del queue.prompts[response.request_id]
        queue.answered.append(response.request_id)
        pending.answer.set_result(response.decision or response.answers)

    async def end_session(self, session_id: str) -> None:
        """Cancel what the session does, then delete it.

        Raises:
            NotFound: there is no such session.
        """
        queue = self.queue(self._store.get(session_id))
        queue.is_ending = True  # no turn may begin while those under way end
        try:
            await self.cancel(session_id, drop_queued=True, reason="session_deleted")
        finally:
            queue.is_ending = False
        self._store.delete(session_id)

    async def stop(self) -> None:
        """Cancel every turn, waiting or under way."""
        await asyncio.gather(
            *(
                self.cancel(session.session_id, drop_queued=True, reason="runtime_stopped")
                for session in self._store.list()
            )
        )

    async def compact(self, session: Session, guidance: str) -> dict[str, Any]:
        """Replace the session's messages by a summary that its model writes (contract 6.6)."""
        before = len(session.messages)
        if self.queue(session).active is not None:
            return {"status": "skipped", "reason": "a turn is under way"}
        if before < 3:
            return {"status": "skipped", "reason": "insufficient_messages"}
        kept = [*session.messages]
        ask = "Summarise the conversation so far for whoever goes on with it; keep names and decisions."
        conversation = [{"role": "user", "content": f"{m.role}: {m.content}"} for m in session.messages]
        try:
            name = self._agents.name_for(session)
            model = self._agents.plain_model(name, self._agents.model_for(session))
            request = {"role": "user", "content": f"{ask} {guidance}".strip()}
            summary = await model.complete([*conversation, request])
        except TurnFailure as exc:
            return {"status": "failed", "reason": str(exc), "messages_before": before}
        if session.messages[:before] != kept:
            return {"status": "failed", "reason": "the messages changed meanwhile", "messages_before": before}
        session.messages[:before] = [self._message("system", summary, {"compacted": before})]
        after = len(session.messages)
        return {"status": "completed", "messages_before": before, "messages_after": after}

    # -- one turn --------------------------------------------------------------------------------------

    def _advance(self, session: Session) -> None:
        queue = self.queue(session)
        if queue.active is not None or not queue.waiting:
            return
        turn = queue.active = queue.waiting.popleft()
        # An empty context: what started the turn must not leak into it.
        task = asyncio.create_task(self._run(session, turn), name=turn.id, context=contextvars.Context())
        turn.task = task
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, session: Session, turn: Turn) -> None:
        current_invocation.set(turn.invocation)
        turn.started_at = self._clock.monotonic()
        try:
            await self._answer(session, turn)
        except asyncio.CancelledError:
            self._finish_cancelled(session, turn)
        except BaseException as exc:  # whatever a script raises ends its turn, and nothing else
            turn.error = exc
            self._finish_failed(session, turn, *_type_and_message(exc))
        finally:
            self._leave(session, turn)

    async def _answer(self, session: Session, turn: Turn) -> None:
        answer = self._answering(session, turn)
        if turn.request.reset:
            session.messages.clear()
        session.model = turn.model or session.model
        self._publish(session, turn, "turn.started", {"agent": turn.agent, "model": turn.model})
        try:
            await answer()
        except Exception as exc:
            turn.transcript.fail(*_type_and_message(exc))
            raise
        if not turn.finished:  # cancelled meanwhile, and its agent ignored that
            self._keep_messages(session, turn)
            self._finish_completed(session, turn)

    def _answering(self, session: Session, turn: Turn) -> Callable[[], Awaitable[None]]:
        """Return what answers the turn: its agent's script, or else a model.

        Raises:
            TurnFailure: there is neither; the turn never starts (contract 5.2).
        """
        script = self._agents.script_for(turn)
        if script is not None:
            return partial(turn.run_script, script)
        try:
            model = self._agents.model_agent(session, turn)
        except TurnFailure as exc:
            raw = {"type": "error", "error": str(exc)}
            self._publish(session, turn, "turn.event", {"event_type": "error", "raw_event": raw})
            raise
        return partial(model.answer, turn, session.policy.max_steps)

    def _finish_completed(self, session: Session, turn: Turn) -> None:
        transcript = turn.transcript
        session.completed_turns += 1
        used = transcript.usage
        session.tokens += used.input_tokens + used.output_tokens
        session.tool_calls += len(transcript.tool_calls)
        session.last_input_tokens = transcript.last_input_tokens or session.last_input_tokens
        if used.output_tokens:
            session.cost = None  # a price list is not ours to keep
        payload = {
            "turn_id": turn.id,
            "response_text": transcript.text,
            "generation_stop_reason": transcript.stop_reason,
            "tool_calls": [call.masked() | {"result": call.result_text} for call in transcript.tool_calls],
            "usage": {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens},
            "duration_ms": self._duration(turn),
            "agent": turn.agent,
            "message_count": session.completed_turns,
        }
        self._finish(session, turn, "turn.completed", payload)

    def _finish_failed(self, session: Session, turn: Turn, type_: str, message: str) -> None:
        transcript = turn.transcript
        payload = {
            "turn_id": turn.id,
            "error": {"type": type_, "message": message},
            "partial_response": transcript.text or None,
            "tool_calls_attempted": [call.masked() for call in transcript.tool_calls],
            "duration_ms": self._duration(turn),
        }
        self._finish(session, turn, "turn.failed", payload)

    def _finish_cancelled(self, session: Session, turn: Turn) -> None:
        reason = turn.cancel_reason
        turn.cancelled = True
        payload = {
            "turn_id": turn.id,
            "reason": reason,
            "partial_response": turn.transcript.text or None,
            "dropped_queued": turn.dropped,
            "duration_ms": self._duration(turn),
            "raw_event": {"type": "cancelled", "data": {"reason": reason}},
        }
        self._finish(session, turn, "turn.cancelled", payload)

    def _finish(self, session: Session, turn: Turn, kind: str, payload: dict[str, Any]) -> None:
        if not turn.finished:
            self._publish(session, turn, kind, payload, terminal=True)
            turn.finished = True

    def _drop(self, session: Session, turn: Turn) -> None:
        """End a turn that was still waiting."""
        self.queue(session).waiting.remove(turn)
        self._store.note_waiting(-turn.request.size)
        self._finish(session, turn, "turn.cancelled", {"reason": "queue_dropped"})
        self._history.end(turn.invocation, cancelled=True)

    async def _end(self, session: Session, turn: Turn, task: asyncio.Task[None]) -> None:
        """Wait for a cancelled turn's task; an agent that ignores it is left behind after the grace."""
        done, _ = await asyncio.wait({task}, timeout=CANCEL_GRACE)
        if not done:
            log.warning("agent %r did not end within %g s of being cancelled", turn.agent, CANCEL_GRACE)
        if self.queue(session).active is turn:
            # It ignored the cancellation, or had not begun: nothing of it ran then.
            self._finish_cancelled(session, turn)
            self._leave(session, turn)

    def _leave(self, session: Session, turn: Turn) -> None:
        """Let the next turn of the session run."""
        queue = self.queue(session)
        if queue.active is not turn:
            return
        queue.active = None
        queue.prompts.clear()
        self._store.note_waiting(-turn.request.size)
        self._store.touch(session)
        expected = issubclass(type(turn.error), TurnFailure | PromptCancelled)
        self._history.end(turn.invocation, turn.error, cancelled=turn.cancelled, expected=expected)
        self._advance(session)

    def _keep_messages(self, session: Session, turn: Turn) -> None:
        who = {"agent": turn.agent, "model": turn.model}
        session.messages.append(self._message("user", turn.message, {**turn.request.metadata, **who}))
        for done in turn.transcript.generations:
            why = {"generation_stop_reason": done.stop_reason}
            session.messages.append(self._message("assistant", done.text, why | who))
            for call in done.calls:
                message = self._message("tool", call.result_text)
                message.tool_call_id, message.tool_name = call.id, call.name
                message.tool_args = mask(call.arguments)
                session.messages.append(message)

    def _message(self, role: str, content: str, metadata: dict[str, Any] | None = None) -> Message:
        return Message(role=role, content=content, metadata=metadata, created_at=iso(self._clock.now()))

    def _duration(self, turn: Turn) -> int:
        return 0 if turn.started_at is None else round((self._clock.monotonic() - turn.started_at) * 1000)

    def _publish(
        self, session: Session, turn: Turn, kind: str, payload: dict[str, Any], *, terminal: bool = False
    ) -> None:
        if turn.finished:
            return  # cancelled, and the agent ignored that
        publish = partial(
            self._bus.publish, kind, session_id=session.session_id, turn_id=turn.id, terminal=terminal
        )
        try:
            publish(payload)
        except TooLarge as exc:
            publish(truncate(payload, str(exc)))  # never too large: it keeps a tenth of the bound
        except Gone:
            log.info("%s of the deleted session %s is dropped", kind, session.session_id)


def _type_and_message(exc: BaseException) -> tuple[str, str]:
    """Return the type and the message of an error, as `turn.failed` has them."""
    if issubclass(type(exc), TurnFailure):
        return exc.type, valid_text(str(exc))  # type: ignore[attr-defined]  # not by isinstance(), which asks the object
    error = describe(exc)
    return error.type, error.message or error.type


def turn_run_by(frame: FrameType) -> Turn | None:
    """Return the turn that this frame runs, if it is one of `Turns._run`; the watchdog asks."""
    if frame.f_code is not Turns._run.__code__:
        return None
    found = frame.f_locals.get("turn")
    return found if isinstance(found, Turn) else None
