"""`SharedSessions`: the sessions of a cluster: each runs on one node, and every node answers for all.

Over a broker that one runtime has for itself, everything is done here, at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from dnworker.core.errors import ApiError, DnworkerError, NotFound, Unavailable, code_of
from dnworker.core.lease_time import RENEW_AFTER, TRY_AGAIN, LeaseClock
from dnworker.core.task_ends import end_tasks
from dnworker.events.brokers.messages import Unreachable
from dnworker.sessions.elsewhere import Elsewhere
from dnworker.sessions.kept import MessageList, record_of
from dnworker.sessions.leases import Held, SessionLeases
from dnworker.sessions.peers import (
    Answer,
    Request,
    decode_answer,
    encode_answer,
    encode_request,
    lease_name,
)
from dnworker.sessions.session import Message, Session
from dnworker.sessions.taking_over import TakingOver

if TYPE_CHECKING:
    from dnworker.events.brokers.base import Broker
    from dnworker.events.brokers.messages import Messages
    from dnworker.events.bus import EventBus
    from dnworker.sessions.agents import Agents
    from dnworker.sessions.store import SessionStore
    from dnworker.sessions.turns import Turns

log = logging.getLogger("dnworker.sessions")

T = TypeVar("T")

REQUEST_SECONDS = 30.0
"""Seconds within which the node of a session must answer, or another must have taken it over."""

FREE = "sessions.free"
"""The subject on which a node says that it has given sessions back."""

Execute = Callable[[str, str, dict[str, Any]], Awaitable[Any]]
"""Does what another node requests, by operation, session and fields; returns what is JSON."""


class SharedSessions:
    """Runs sessions that nobody runs, and has others do what is requested of theirs.

    Args:
        bus, store, turns, agents: the parts of this runtime.
        clock: times leases.
        holder: the id of this runtime.
        execute: does here what another node requests.
    """

    def __init__(
        self,
        bus: EventBus,
        store: SessionStore,
        turns: Turns,
        agents: Agents,
        *,
        clock: LeaseClock,
        holder: str,
        execute: Execute,
    ) -> None:
        # The parts of the runtime.
        self._bus = bus
        self._store = store
        self._turns = turns
        self._agents = agents
        self._clock = clock
        self._execute = execute
        # What runs here, and what does not.
        self.leases = SessionLeases(bus, clock, holder, self._lose)
        self.elsewhere = Elsewhere(bus, store, self._is_ours)
        self._taking = TakingOver(bus, store, turns)
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        """Of sessions that are being taken over or given back, with how many want to do so."""
        # While it is open.
        self.is_on = False
        """Whether other nodes may have sessions; also after the end, until something else keeps events."""
        self._is_ending = False
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._ends: list[Callable[[], object]] = []

    @property
    def _broker(self) -> Broker:
        return self._bus.broker

    @property
    def _messages(self) -> Messages:
        messages = self._broker.messages
        if messages is None:
            raise Unavailable(f"the broker {self._broker.name} carries no messages")
        return messages

    # -- the start and the end of a runtime ------------------------------------------------------------

    async def open(self) -> None:
        """Know the sessions of all nodes, and take over those that nobody runs; if the broker is shared."""
        self.is_on = self._broker.capabilities.is_shared
        self._is_ending = False
        if not self.is_on:
            return
        self._wake = asyncio.Event()  # of this loop, before anything may set it
        self._turns.events.deltas.open()
        await self.elsewhere.open()
        overtaken = self._store.keeper.overtaken.add(self._overtaken)
        self._ends = [
            self._messages.listen(FREE, lambda *_: self._wake.set()),
            self._agents.changed.add(self._wake.set),
            overtaken,
        ]
        # A take-over may take long: it must not hold up the renewal of what runs here.
        self._tasks = [
            asyncio.create_task(work, name=name, context=contextvars.Context())
            for work, name in (
                (self.leases.keep(), "session leases"),
                (self.leases.drop_late(), "session leases that run out"),
                (self._keep(), "sessions that nobody runs"),
            )
        ]

    async def end_serving(self) -> None:
        """Take nothing more over, and answer no other node: what runs here is about to end."""
        self._is_ending = self.is_on
        while self._ends:
            self._ends.pop()()
        for held in self.leases.all():
            while held.ends:
                held.ends.pop()()
        if self.is_on:
            await self.elsewhere.close()

    async def close(self) -> None:
        """Give all sessions back, once their turns have ended or are written; may be called again."""
        await self.end_serving()
        tasks, self._tasks = self._tasks, []
        await end_tasks(*tasks)
        self._turns.events.deltas.close()
        held = [*filter(None, map(self.leases.drop, [one.session_id for one in self.leases.all()]))]
        await asyncio.gather(*map(self.leases.give_back, held))
        if held:
            self._messages.tell(FREE, b"")

    # -- what is asked of sessions ---------------------------------------------------------------------

    async def call(
        self, session_id: str, op: str, fields: dict[str, Any], here: Callable[[], Awaitable[T]]
    ) -> T | Any:
        """Do something with a session on the node that runs it, which is this one from now on if none does.

        Args:
            session_id: whose.
            op: its name.
            fields: what the other node needs for it, as JSON.
            here: does it in this runtime.

        Raises:
            ApiError: it was refused, here or there.
            Unavailable: the other node does not answer, and its lease has not run out.
            TooLarge: the request has more bytes than nodes send each other.
        """
        if self._is_ending:
            raise Unavailable("this runtime stops, or has stopped; ask another node")
        if not self.is_on:
            return await here()
        held = self._use(session_id) or await self._elsewhere(session_id, op, fields)
        if isinstance(held, Answer):
            return held.result()
        try:
            return await here()
        finally:
            held.users -= 1
            held.used = self._clock.monotonic()

    async def find(self, session_id: str) -> Session:
        """Return a session, whoever runs it; of another node's there are facts alone.

        Raises:
            NotFound: there is none.
        """
        if not self.is_on or self._is_ending or self.leases.get(session_id) is not None:
            return self._store.get(session_id)
        return await self.elsewhere.find(session_id)

    async def look(self, session_id: str | None) -> None:
        """Find a session that this runtime has not heard of yet; nothing is said where there is none."""
        if self.is_on and not self._is_ending and session_id is not None and session_id not in self._store:
            with suppress(NotFound):
                await self.elsewhere.find(session_id)

    async def all(self) -> list[Session]:
        """Return all sessions, the newest change first."""
        if self.is_on and not self._is_ending:
            with suppress(OSError):  # NotStored and BrokerError are: what is known is shown
                await self.elsewhere.refresh()
        return self._store.list()

    async def messages(self, session_id: str) -> list[Message]:
        """Return the messages of a session, whoever runs it.

        Raises:
            NotFound: there is none.
        """
        session = await self.find(session_id)
        return session.messages if session.is_here else await self.elsewhere.messages(session_id)

    async def ask(self, session_id: str, op: str) -> Any:
        """Return what the node says that runs a session; None where no other node runs it now."""
        if not self.is_on or self._is_ending or self.leases.get(session_id) is not None:
            return None
        try:
            answer = await self._request(session_id, op, {}, 5.0)
        except Unreachable:
            return None
        return None if answer.is_elsewhere else answer.result()

    async def _elsewhere(self, session_id: str, op: str, fields: dict[str, Any]) -> Held | Answer:
        """Return the answer of the node that runs a session, or its lease, in use, where it runs here now."""
        deadline = self._clock.monotonic() + REQUEST_SECONDS
        while True:
            asked = self._clock.monotonic()
            with suppress(Unreachable):
                answer = await self._request(session_id, op, fields, REQUEST_SECONDS)
                if not answer.is_elsewhere:
                    return answer
            if self._clock.monotonic() - asked >= REQUEST_SECONDS - 1:  # it may do it yet
                raise Unavailable(f"the node that runs session {session_id!r} does not answer")
            if await self._try_take_over(session_id) and (held := self._use(session_id)) is not None:
                return held
            if self._clock.monotonic() >= deadline:
                raise Unavailable(f"the node that ran session {session_id!r} is gone; try again")
            await self._clock.sleep(TRY_AGAIN)

    async def _request(self, session_id: str, op: str, fields: dict[str, Any], seconds: float) -> Answer:
        data = encode_request(Request(op=op, session_id=session_id, fields=fields))
        return decode_answer(await self._messages.request(lease_name(session_id), data, seconds))

    async def _serve(self, session_id: str, data: bytes) -> bytes:
        """Answer another node."""
        held = self._use(session_id)
        if held is None or self._is_ending:
            return encode_answer(Answer(is_elsewhere=True))
        try:
            request = msgspec.json.decode(data, type=Request)
            return encode_answer(Answer(value=await self._execute(request.op, session_id, request.fields)))
        except ApiError as exc:
            return encode_answer(Answer(status=exc.status, detail=exc.detail, code=code_of(exc)))
        except Exception as exc:
            log.exception("what another node requests of session %s has failed", session_id)
            return encode_answer(
                Answer(status=500, detail=f"{type(exc).__name__} on another node: see its log")
            )
        finally:
            if held is not None:
                held.users -= 1
                held.used = self._clock.monotonic()

    # -- who runs a session ----------------------------------------------------------------------------

    def _is_ours(self, session_id: str) -> bool:
        return self.leases.get(session_id) is not None or session_id in self._locks

    def _use(self, session_id: str) -> Held | None:
        """Return a session that runs here, which is not given back until it is used no longer."""
        if (held := self.leases.get(session_id)) is not None:
            held.users += 1
        return held

    async def _try_take_over(self, session_id: str) -> bool:
        """Do what `_take_over` does, and raise what clients are told."""
        try:
            return await self._take_over(session_id)
        except ApiError:
            raise
        except OSError as exc:
            raise Unavailable(f"session {session_id!r} cannot be had now: {exc}") from exc

    async def _take_over(self, session_id: str) -> bool:
        """Run a session here if nobody does; returns whether it runs here.

        Raises:
            NotStored: the broker is away.
            Unavailable: this runtime stops, or the session cannot be read.
        """
        if self._is_ending:
            raise Unavailable("this runtime stops; ask another node")
        async with self._locked(session_id):
            if self.leases.get(session_id) is not None:
                return True
            held = await self.leases.take(session_id)
            if held is None:
                return False
            try:
                await self._taking.take_up(session_id, await self._taking.read(session_id))
                if self._is_ending or not self.leases.is_good(held):
                    raise Unavailable(f"session {session_id!r} took too long to be taken over; try again")
            except BaseException:
                self._release(session_id)
                await self.leases.give_back(held)
                raise
            self.leases.add(held)
            held.ends.append(self._messages.serve(lease_name(session_id), partial(self._serve, session_id)))
            self._turns.release()
            return True

    def _release(self, session_id: str) -> None:
        """Know a session as one of another node from now on."""
        session = self._store.get(session_id) if session_id in self._store else None
        if session is None:  # it may be that its deletion is not written yet
            self._store.keeper.let_go(session_id)
        elif session.is_here:
            self._turns.let_go(session)
            messages = MessageList(end=session.messages_dropped + len(session.messages))
            self._store.note_elsewhere(record_of(session, messages).facts())
        self.elsewhere.look_again()

    def _lose(self, session_id: str) -> None:
        self._release(session_id)
        self._wake.set()

    def _overtaken(self, session: Session) -> None:
        """Let a session go that another node has written: its lease here is late."""
        if session.session_id in self._store and self._store.get(session.session_id) is session:
            log.warning("session %s runs here no longer: another node has written it", session.session_id)
            self.leases.drop(session.session_id)
            self._lose(session.session_id)

    @asynccontextmanager
    async def _locked(self, session_id: str) -> AsyncIterator[None]:
        """Keep others from taking over or giving back a session meanwhile."""
        lock, _ = self._locks.get(session_id, (asyncio.Lock(), 0))
        self._locks[session_id] = lock, self._locks.get(session_id, (lock, 0))[1] + 1
        try:
            async with lock:
                yield
        finally:
            users = self._locks[session_id][1] - 1
            if users:
                self._locks[session_id] = lock, users
            else:
                del self._locks[session_id]

    async def _keep(self) -> None:
        """Give back sessions that are not used, and take over what nobody runs."""
        is_well = True
        while True:
            await self._pause(RENEW_AFTER if is_well else TRY_AGAIN)
            try:
                await self._give_back_idle()
                await self._take_over_waiting()
                is_well = True
            except (OSError, DnworkerError) as exc:
                is_well = False
                log.debug("sessions of other nodes are not taken over now: %s", exc)
            except Exception:
                log.exception("the sessions of this node cannot be looked after")

    async def _pause(self, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeping, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._wake.clear()
            sleeping.cancel()
            waking.cancel()

    async def _give_back_idle(self) -> None:
        """Give back sessions with which nothing was done for a while, and in which nothing runs or waits."""
        given = False
        for held in self.leases.all():
            if not self._is_idle(held):
                continue
            async with self._locked(held.session_id):
                if self._is_idle(held) and self.leases.drop(held.session_id) is held:
                    self._release(held.session_id)
                    await self.leases.give_back(held)
                    given = True
        if given:
            self._messages.tell(FREE, b"")

    def _is_idle(self, held: Held) -> bool:
        session_id = held.session_id
        if held.users or self._clock.monotonic() < held.used + RENEW_AFTER:
            return False
        if not self._store.keeper.is_settled(session_id):
            return False
        if session_id not in self._store:
            return True
        session = self._store.get(session_id)
        queue = self._turns.queue(session)
        if queue.is_ending:
            return False
        return not queue.turns or self._turns.is_without_agent(session)  # another node may have it

    async def _take_over_waiting(self) -> None:
        """Take over sessions with turns that nobody runs: their agent is here, or one is to be ended."""
        for session_id, agent in (await self._taking.waiting()).items():
            if (
                self.leases.get(session_id) is None
                and not self._is_ending
                and await self._answers(session_id, agent)
            ):
                try:
                    await self._take_over(session_id)
                except (ApiError, OSError) as exc:
                    log.info("session %s is not taken over: %s", session_id, exc)

    async def _answers(self, session_id: str, agent: str) -> bool:
        try:
            session = await self.elsewhere.find(session_id)
            # A turn that ran on a node that is gone needs no agent: it ends as failed.
            return session.running is not None or self._agents.is_there(session, agent)
        except NotFound:
            return True  # its turns are removed
