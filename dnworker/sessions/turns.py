"""`Turns`: runs the turns of all sessions, one at a time in each (contract 5.2, 7.2).

Server and in-process clients start, cancel and answer turns here.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Conflict
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.models import iso
from dnworker.sessions import restoring
from dnworker.sessions.compacting import compact
from dnworker.sessions.endings import add_to, cancelled, completed, failed, type_and_message
from dnworker.sessions.kept import KeptTurn
from dnworker.sessions.prompts import PromptCancelled, Response
from dnworker.sessions.queue import TurnQueue
from dnworker.sessions.session import Session
from dnworker.sessions.snapshots import prompts_of
from dnworker.sessions.store import SessionStore
from dnworker.sessions.transcript import RawEvent
from dnworker.sessions.turn import Turn, TurnFailure, TurnRequest, new_turn_id
from dnworker.sessions.turn_events import BegunElsewhere, TurnEvents

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
        self._keeper = store.keeper
        self.events = TurnEvents(bus, store.__contains__, clock)

        # What runs, and what may not yet.
        self.is_stopping = False  # begins no turn that is kept for the next start
        self._held: set[Session] = set()
        """Sessions whose turns outlived the end of a runtime, and wait for an agent that is not there yet."""
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
        elsewhere = self._store.prompts_elsewhere() if self._keeper.is_shared else 0
        return sum(len(queue.prompts) for queue in self._queues.values()) + elsewhere

    def start(self, session: Session, request: TurnRequest, turn_id: str | None = None) -> Turn:
        """Accept a turn, by a new id if none is given; it runs when those before it have ended.

        Where the broker survives a kill it is accepted as soon as it is kept: `Turn.accepted` waits for that.

        Raises:
            Invalid: the message is no text, or the metadata no JSON.
            TooLarge: the names of agent and model are longer than an event may be.
            Conflict: the session is being deleted, or too much waits already.
        """
        request.check()
        queue = self.queue(session)
        if queue.is_ending:
            raise Conflict(f"session {session.session_id!r} is being deleted", code="DN602")
        self._store.check_room(request.size)
        agent, model = self._agents.name_for(session, request), self._agents.model_for(session, request)
        turn = self._make(session, request, turn_id or new_turn_id(), agent, model, len(queue.turns) + 1)
        if self._keeper.is_on:
            turn.keeping = asyncio.create_task(self._keep(session, turn), name=f"keep {turn.id}")
            self._running.add(turn.keeping)
            turn.keeping.add_done_callback(self._running.discard)
        else:
            self._begin(session, turn, self.events.accept(session, turn))
        self._store.note_waiting(request.size)
        queue.note_started(turn)
        queue.waiting.append(turn)  # last: a turn that could not be accepted must not be waited for
        self._held.discard(session)
        self._store.touch(session)
        self._advance(session)
        return turn

    def _make(
        self, session: Session, request: TurnRequest, turn_id: str, agent: str, model: str | None, depth: int
    ) -> Turn:
        turn = Turn(
            session,
            request,
            turn_id=turn_id,
            invocation=Invocation(f"agent {agent}", "turn", "turn"),
            prompts=self.queue(session).prompts,
            agent=agent,
            model=model,
            publish=lambda kind, raw: self._publish_raw(session, turn, kind, raw),
            judge=lambda model, call: self._agents.judge(model, turn, call),
            tools=self._tools,
            clock=self._clock,
            depth=depth,
        )
        return turn

    def _publish_raw(self, session: Session, turn: Turn, kind: str, raw: RawEvent) -> None:
        self.events.publish(session, turn, kind, {"event_type": str(raw["type"]), "raw_event": raw})
        if kind == "prompt.required":
            self._note_prompts(session)

    def _note_prompts(self, session: Session) -> None:
        if self._keeper.is_shared:  # other nodes are to know what is asked
            session.prompts = prompts_of(self.queue(session))
            self._store.note(session)

    def _begin(self, session: Session, turn: Turn, accepted: EventEnvelope | None) -> None:
        session.turns.append(turn.id)
        turn.invocation.event = accepted
        self._history.begin(turn.invocation)

    async def _keep(self, session: Session, turn: Turn) -> None:
        """Accept a turn as soon as it outlives a kill; one that cannot be kept is dropped."""
        try:
            accepted = await self.events.keep(session, turn, self._keeper)
        except BaseException as exc:
            if turn in (waiting := self.queue(session).waiting):
                waiting.remove(turn)
            self._store.note_waiting(-turn.request.size)
            turn.finished = True
            self._keeper.note_turn_ended(session, turn.id, None)
            log.info("%s of session %s is not accepted: %s", turn.id, session.session_id, exc)
            raise
        self._begin(session, turn, accepted)
        self._store.note(session)  # its event may be dropped long before it runs
        # In a step of its own: this task is done then, by which the turn may run.
        asyncio.get_running_loop().call_soon(self._advance, session)

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
        await queue.settled()
        active = queue.active
        if turn_id is not None and (active is None or active.id != turn_id):
            if (waiting := queue.find_waiting(turn_id)) is None:
                gone = f"turn {turn_id!r} is neither active nor waiting in session {session_id!r}"
                raise Conflict(gone, code="DN604")
            self._drop(session, waiting)
            return "cancelled"
        dropped = [*queue.waiting] if drop_queued else []
        for turn in dropped:
            self._drop(session, turn)
        if active is None or active.task is None:
            return "cancelled" if dropped else "idle"
        active.dropped = len(dropped)
        active.cancel_reason = reason
        if not active.has_answer:
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
        session = self._store.get(session_id)
        queue = self.queue(session)
        pending = queue.take_prompt(session_id, response)
        if pending is None:
            return
        if response.decision == "allow_session" and pending.prompt.tool_approval is not None:
            session.allowed_tools.add(pending.prompt.tool_approval.tool_name)
            self._store.note(session)
        pending.answer.set_result(response.decision or response.answers)
        self._note_prompts(session)

    async def end_session(self, session_id: str) -> None:
        """Cancel what the session does, then delete it, so that it stays deleted.

        Raises:
            NotFound: there is no such session.
            NotStored: it is deleted, and that cannot be kept now; it is tried again.
        """
        queue = self.queue(session := self._store.get(session_id))
        queue.is_ending = True  # no turn may begin while those under way end
        try:
            await self.cancel(session_id, drop_queued=True, reason="session_deleted")
            if self._keeper.is_shared:  # their ends, which could not be published again once it is deleted
                await self._store.kept(session)
        finally:
            queue.is_ending = False
        await self._store.kept(self._store.delete(session_id))

    # -- the start and the end of a runtime ------------------------------------------------------------

    async def restore(self) -> None:
        """Take up the sessions and turns that outlived the end of a runtime, before anybody is answered."""
        self.is_stopping = False
        self._keeper.open()
        self.events.is_shared = self._keeper.is_shared
        if self._keeper.is_on and not self._keeper.is_shared:
            for session, turns in (await restoring.read(self._bus, self._store)).items():
                await self.take_up(session, turns)
            self.release()

    async def take_up(self, session: Session, turns: list[KeptTurn]) -> None:
        """End the turn that ran when the runtime ended, and let those wait that had not begun."""
        trails = await restoring.trails(self._bus, session, turns)
        queue = self.queue(session)
        session.turns = []
        for kept in turns:
            trail = trails[kept.turn_id]
            turn = self._make(session, kept.request, kept.turn_id, kept.agent, kept.model, kept.depth)
            if trail.is_waiting:
                self._begin(session, turn, trail.accepted)
                self._store.note_waiting(turn.request.size)
                queue.waiting.append(turn)
                self._held.add(session)
            elif trail.end is not None:
                self._finish(session, turn, *trail.end)
            else:
                if not trail.is_known:
                    say = "%s of session %s is dropped: nothing says that it was accepted; start it again"
                    log.warning(say, turn.id, session.session_id)
                self._keeper.note_turn_ended(session, turn.id, None)
        session.running, session.outcome, session.prompts = None, None, []
        self._store.note(session)

    def let_go(self, session: Session) -> None:
        """Leave a session to the runtime that takes it over: nothing more is published of its turns."""
        session.is_here = False
        self._held.discard(session)
        queue = self.queue(session)
        while queue.waiting:
            if (turn := queue.waiting.popleft()).is_kept:  # else its keeping is about to fail
                turn.finished = True
                self._store.note_waiting(-turn.request.size)
                self._history.end(turn.invocation, cancelled=True)
        if (active := queue.active) is not None:
            active.finished = active.cancelled = True
            if active.task is not None:
                active.task.cancel()
        self._keeper.let_go(session.session_id)

    def is_without_agent(self, session: Session) -> bool:
        """Return whether all that a session has to do waits for an agent that is not in this runtime."""
        return session in self._held and self.queue(session).active is None

    def release(self, *, without_agent: bool = False) -> None:
        """Let turns run that outlived a runtime, if their agent is there; `without_agent`: none will come."""
        for session in [*self._held]:
            waiting = self.queue(session).waiting
            if without_agent or not waiting or self._agents.is_there(session, waiting[0].agent):
                self._held.discard(session)
                self._advance(session)

    async def stop(self) -> None:
        """Cancel every turn, waiting or under way; those that wait and are kept run after the next start."""
        self.is_stopping = self._keeper.is_on
        sessions = [session for session in self._store.list() if session.is_here]
        cancel = partial(self.cancel, drop_queued=not self._keeper.is_on, reason="runtime_stopped")
        await asyncio.gather(*(cancel(session.session_id) for session in sessions))
        self._held.clear()
        if self._keeper.is_on:
            await self._keeper.close()
            for turn in (turn for session in sessions for turn in self.queue(session).waiting):
                self._history.end(turn.invocation, cancelled=True)
            self._store.forget_all()

    async def compact(self, session: Session, guidance: str) -> dict[str, Any]:
        """Replace the session's messages by a summary that its model writes (contract 6.6)."""
        if self.queue(session).active is not None:
            return {"status": "skipped", "reason": "a turn is under way"}
        answer = await compact(session, guidance, self._agents, iso(self._clock.now()))
        self._store.note(session)
        return answer

    # -- one turn --------------------------------------------------------------------------------------

    def _advance(self, session: Session) -> None:
        queue = self.queue(session)
        if queue.active is not None or not queue.waiting or not queue.waiting[0].is_kept:
            return
        if session in self._held or self.is_stopping or not session.is_here:
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
        except BegunElsewhere:
            self._finish(session, turn, "turn.failed", restoring.interrupted(turn.id))
        except BaseException as exc:  # whatever a script raises ends its turn, and nothing else
            turn.error = exc
            self._finish_failed(session, turn, *type_and_message(exc))
        finally:
            self._leave(session, turn)

    async def _answer(self, session: Session, turn: Turn) -> None:
        try:
            answer = self._agents.answering(session, turn)
        except TurnFailure as exc:
            raw = {"type": "error", "error": str(exc)}
            self.events.publish(session, turn, "turn.event", {"event_type": "error", "raw_event": raw})
            raise
        if turn.request.reset:
            session.messages.clear()
        session.model = turn.model or session.model
        if await self.events.begin(session, turn, is_kept=(kept := self._keeper.is_on)) is not None and kept:
            session.running = turn.id
            self._store.note(session)
        try:
            await answer()
        except Exception as exc:
            turn.transcript.fail(*type_and_message(exc))
            raise
        if not turn.finished:  # cancelled meanwhile, and its agent ignored that
            await self._complete(session, turn)

    async def _complete(self, session: Session, turn: Turn) -> None:
        """Add the messages of a turn that was answered, and publish that it is done."""
        turn.has_answer = True
        add_to(session, turn, iso(self._clock.now()))
        session.outcome = completed(session, turn, self._duration(turn))
        if self._keeper.is_on:  # first the messages: a turn that is said to be done has them
            self._store.note(session)
            await self._keeper.kept_or_said(session, f"the messages of {turn.id}")
        self._finish(session, turn, "turn.completed", session.outcome)

    def _finish_failed(self, session: Session, turn: Turn, type_: str, message: str) -> None:
        self._finish(session, turn, "turn.failed", failed(turn, type_, message, self._duration(turn)))

    def _finish_cancelled(self, session: Session, turn: Turn) -> None:
        turn.cancelled = True
        self._finish(session, turn, "turn.cancelled", cancelled(turn, self._duration(turn)))

    def _finish(self, session: Session, turn: Turn, kind: str, payload: dict[str, Any]) -> None:
        if not turn.finished:
            last = self.events.publish(session, turn, kind, payload, terminal=True)
            turn.finished = True
            if turn.id in session.turns:
                session.turns.remove(turn.id)
            self._keeper.note_turn_ended(session, turn.id, last)

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
        session.running, session.outcome, session.prompts = None, None, []
        self._store.note_waiting(-turn.request.size)
        self._store.touch(session)
        expected = issubclass(type(turn.error), TurnFailure | PromptCancelled)
        self._history.end(turn.invocation, turn.error, cancelled=turn.cancelled, expected=expected)
        self._advance(session)

    def _duration(self, turn: Turn) -> int:
        return 0 if turn.started_at is None else round((self._clock.monotonic() - turn.started_at) * 1000)


def turn_run_by(frame: FrameType) -> Turn | None:
    """Return the turn that this frame runs, if it is one of `Turns._run`; the watchdog asks."""
    if frame.f_code is not Turns._run.__code__:
        return None
    found = frame.f_locals.get("turn")
    return found if isinstance(found, Turn) else None
