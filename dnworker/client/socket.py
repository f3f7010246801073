"""The interactive socket of a client: sends commands, receives turns (contract 7.3); used by `http`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from dnworker.client.connection import encode_fields
from dnworker.client.unreachable import unreachable
from dnworker.core.envelope import EventEnvelope, decode
from dnworker.core.errors import CommandError, RuntimeUnavailable, TurnFailedError
from dnworker.core.ids import new_id
from dnworker.core.invocation import current_invocation

log = logging.getLogger("dnworker.client")

RECONNECT_FIRST = 0.25
RECONNECT_LONGEST = 15.0
RECONNECT_BUDGET = 120.0
"""Seconds that a turn waits for its runtime to come back."""

EARLY_KEPT = 1_000

Connect = Callable[[], Any]
"""Opens the WebSocket: an async context manager of websockets."""


class _Frame(msgspec.Struct, kw_only=True):
    """The fields of any frame; an event has a `seq`, a control frame has none."""

    kind: str
    seq: int | None = None
    command_id: str | None = None
    session_id: str | None = None
    payload: dict[str, Any] = {}


_frames = msgspec.json.Decoder(_Frame)


class _RemoteTurn:
    """The events of one turn, as the socket receives them."""

    def __init__(self, session_id: str, turn_id: str, forget: Callable[[_RemoteTurn], object]) -> None:
        self.session_id = session_id
        self.turn_id = turn_id
        self.failure: BaseException | None = None
        self._forget = forget
        self._events: deque[EventEnvelope] = deque()
        self._filled = asyncio.Event()

    def put(self, envelope: EventEnvelope) -> None:
        """Queue one event of the turn."""
        self._events.append(envelope)
        self._filled.set()

    def fail(self, failure: BaseException) -> None:
        """End the iteration with `failure`: nothing more will come."""
        self.failure = failure
        self._filled.set()

    async def __aiter__(self) -> AsyncIterator[EventEnvelope]:
        try:
            while True:
                while self._events:
                    envelope = self._events.popleft()
                    yield envelope
                    if envelope.terminal:
                        return
                if self.failure is not None:
                    raise self.failure
                self._filled.clear()
                await self._filled.wait()
        finally:
            self.close()

    def close(self) -> None:
        self._forget(self)


class InteractiveSocket:
    """One `/api/ws` connection, opened with the first command, and again while a turn waits.

    Events are sorted by turn, so that any number of turns of one session can be followed at once (contract
    13.6).
    """

    def __init__(self, connect: Connect, where: str) -> None:
        # The connection, and the tasks that keep it.
        self._connect = connect
        self._where = where
        self._socket: Any = None
        self._opening = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._catching_up: set[asyncio.Task[None]] = set()

        # Commands without an ack, by their id.
        self._commands: dict[str, asyncio.Future[_Frame]] = {}

        # Sessions that are subscribed to, each with the newest `seq` received.
        self._watched: dict[str, int | None] = {}

        # Turns that are followed, and events that came before the ack of their turn.
        self._turns: dict[str, _RemoteTurn] = {}
        self._starting = 0
        self._early: deque[EventEnvelope] = deque(maxlen=EARLY_KEPT)

        # Sessions that were subscribed to again: those without a snapshot yet, those with a gap, and up to
        # which `seq` missed events follow, with the turns that had not ended then.
        self._rejoined: set[str] = set()
        self._resynced: set[str] = set()
        self._replayed_to: dict[str, tuple[int, frozenset[Any]]] = {}

    async def start_turn(self, session_id: str, fields: dict[str, Any]) -> _RemoteTurn:
        """Start a turn and return its events.

        Raises:
            CommandError: the runtime refused it.
            TypeError: its ack names no turn.
        """
        await self.watch(session_id)
        self._starting += 1
        try:
            ack = await self.command("turn.start", session_id, fields)
            turn_id = ack.get("turn_id")
            if not isinstance(turn_id, str):
                raise TypeError(f"the ack of turn.start has no turn_id: {ack!r}")
            turn = _RemoteTurn(session_id, turn_id, lambda gone: self._turns.pop(gone.turn_id, None))
            for envelope in self._early:  # events may come before the ack
                if envelope.turn_id == turn_id:
                    turn.put(envelope)
            self._turns[turn_id] = turn
            return turn
        finally:
            self._starting -= 1
            if not self._starting:
                self._early.clear()

    async def watch(self, session_id: str) -> None:
        """Subscribe to a session, once."""
        if session_id not in self._watched:
            await self.command("subscribe", session_id)
            self._watched.setdefault(session_id, None)

    async def unwatch(self, session_id: str) -> None:
        """Unsubscribe."""
        if self._watched.pop(session_id, False) is not False:
            await self.command("unsubscribe", session_id)

    async def command(
        self, op: str, session_id: str | None, payload: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send a command and return the payload of its ack.

        Raises:
            CommandError: the runtime refused it.
            RuntimeUnavailable: the socket cannot be opened, or broke before the ack.
        """
        await self._open()
        return await self._send(op, session_id, payload or {})

    async def close(self) -> None:
        """Close the socket; turns that are waited for end with RuntimeUnavailable."""
        tasks = {task for task in (self._reading, self._reconnecting, *self._catching_up) if task is not None}
        self._reading = self._reconnecting = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        self._give_up(RuntimeUnavailable("the client was closed", code="DN918"))

    # -- the connection --------------------------------------------------------------------------------

    async def _open(self) -> None:
        async with self._opening:
            if self._reconnecting is not None and not self._reconnecting.done():
                await asyncio.wait({self._reconnecting})
            if self._reading is None or self._reading.done():
                await self._connect_and_greet()

    async def _connect_and_greet(self) -> None:
        self._forget_subscriptions()
        self._socket = await self._connected()
        self._reading = asyncio.create_task(self._read(self._socket), name="interactive socket")
        await self._send("hello", None, {})

    async def _connected(self) -> Any:
        from websockets.exceptions import InvalidHandshake, InvalidStatus

        try:
            return await self._connect()
        except InvalidStatus as exc:
            status = exc.response.status_code
            hint = ": is the token right?" if status in (401, 403) else ""
            failure = RuntimeUnavailable(
                f"{self._where} refused the socket with {status}{hint}", code="DN904"
            )
            failure.is_final = status in (401, 403)
            raise failure from exc
        except (OSError, InvalidHandshake, TimeoutError) as exc:
            failure = unreachable(self._where, exc, "no socket")
            failure.code = "DN918" if failure.code == RuntimeUnavailable.code else failure.code
            raise failure from exc

    async def _send(self, op: str, session_id: str | None, payload: dict[str, Any]) -> dict[str, Any]:
        from websockets.exceptions import ConnectionClosed

        command_id = new_id()
        answer: asyncio.Future[_Frame] = asyncio.get_running_loop().create_future()
        self._commands[command_id] = answer
        frame: dict[str, Any] = {
            "schema_version": 2,
            "command_id": command_id,
            "op": op,
            "session_id": session_id,
            "payload": payload,
        }
        if (cause := current_invocation.get()) is not None:
            frame["traceparent"] = cause.traceparent
        try:
            await self._socket.send(encode_fields(frame).decode())
            ack = await answer
        except ConnectionClosed as exc:
            raise RuntimeUnavailable(f"the socket to {self._where} broke", code="DN918") from exc
        finally:
            self._commands.pop(command_id, None)
        if ack.kind == "command.error":
            detail = ack.payload.get("detail", "refused")
            status = ack.payload.get("status_code", 400)
            raise CommandError(f"{op}: {detail}", status if isinstance(status, int) else 400)
        return ack.payload

    async def _read(self, socket: Any) -> None:
        """Dispatch incoming frames until the socket closes; then reconnect while a turn waits."""
        from websockets.exceptions import ConnectionClosed

        try:
            async for frame in socket:
                self._take(frame)
        except ConnectionClosed:
            pass
        except Exception:  # not a frame of the protocol: nobody may wait for ever because of it
            log.exception("the interactive socket to %s sent what cannot be read", self._where)
            await socket.close()
        broken = RuntimeUnavailable(f"the socket to {self._where} broke", code="DN918")
        for answer in self._commands.values():
            if not answer.done():
                answer.set_exception(broken)
        if not self._turns:
            self._forget_subscriptions()
            return
        self._reconnecting = asyncio.create_task(self._reconnect(), name="interactive socket returns")

    def _take(self, text: str | bytes) -> None:
        frame = _frames.decode(text)
        if frame.seq is not None:
            self._take_event(decode(text))
        elif frame.command_id is not None:
            answer = self._commands.get(frame.command_id)
            if answer is not None and not answer.done():
                answer.set_result(frame)
        elif frame.kind == "transport.resync_required" and frame.session_id is not None:
            self._resynced.add(frame.session_id)
        elif frame.kind == "session.snapshot":
            self._take_snapshot(frame.payload)
        elif frame.kind == "transport.forwarder_failed" and frame.session_id is not None:
            task = asyncio.create_task(self._catch_up(frame.session_id), name="subscribe again")
            self._catching_up.add(task)
            task.add_done_callback(self._catching_up.discard)

    def _take_event(self, envelope: EventEnvelope) -> None:
        if envelope.session_id in self._watched:
            self._watched[envelope.session_id] = envelope.seq
        turn = self._turns.get(envelope.turn_id or "")
        if turn is not None:
            turn.put(envelope)
        elif self._starting and envelope.turn_id is not None:
            self._early.append(envelope)
        missed = self._replayed_to.get(envelope.session_id or "")
        if missed is not None and envelope.seq >= missed[0]:
            del self._replayed_to[envelope.session_id or ""]
            self._lose(envelope.session_id or "", "its end was not among what was missed", missed[1])

    # -- reconnecting ----------------------------------------------------------------------------------

    async def _reconnect(self) -> None:
        """Connect again and follow the turns that wait (contract 7.3); gives up after 120 s."""
        loop = asyncio.get_running_loop()
        deadline, delay = loop.time() + RECONNECT_BUDGET, RECONNECT_FIRST
        while True:
            await asyncio.sleep(delay)
            try:
                socket = await self._connected()
                break
            except RuntimeUnavailable as exc:
                if exc.is_final or loop.time() > deadline:
                    self._give_up(exc)
                    return
                log.info("interactive socket lost; trying again in %g s", delay)
                delay = min(delay * 2, RECONNECT_LONGEST)
        self._socket = socket
        self._reading = asyncio.create_task(self._read(socket), name="interactive socket")
        try:
            await self._send("hello", None, {})
            for session_id in sorted(self._watched):
                await self._resubscribe(session_id)
        except (CommandError, RuntimeUnavailable) as exc:
            log.info("interactive socket came back, and broke again: %s", exc)

    async def _catch_up(self, session_id: str) -> None:
        """Subscribe again after the runtime cut the session's events off, too many at once."""
        try:
            await self._resubscribe(session_id)
        except (CommandError, RuntimeUnavailable) as exc:
            log.info("the events of session %s were cut off and cannot be had again: %s", session_id, exc)
            self._lose(session_id, str(exc))

    async def _resubscribe(self, session_id: str) -> None:
        """Subscribe from the newest event received on."""
        seq = self._watched.get(session_id)
        self._rejoined.add(session_id)
        await self._send("subscribe", session_id, {} if seq is None else {"after_seq": seq})

    def _take_snapshot(self, snapshot: dict[str, Any]) -> None:
        """Notice turns whose last event can no longer come (contract 13.7).

        A turn of ours that the runtime neither runs nor has in its queue has ended; its end is among the
        events that follow, unless they were dropped or the runtime was started anew.
        """
        session_id = snapshot.get("session_id")
        if not isinstance(session_id, str) or session_id not in self._rejoined:
            return
        self._rejoined.discard(session_id)
        seen, latest = self._watched.get(session_id), snapshot.get("latest_seq")
        cut = session_id in self._resynced
        self._resynced.discard(session_id)
        active, queued = snapshot.get("active_turn_id"), snapshot.get("queued_turn_ids")
        known = frozenset({active, *(queued or ())})
        hides_queue = queued is None and active is not None  # then one of ours may be in it
        if seen is not None and isinstance(latest, int) and latest > seen and not cut:
            if not hides_queue:  # what was missed follows, up to there; a new runtime may have counted as far
                self._replayed_to[session_id] = latest, known
            return
        self._watched[session_id] = latest if isinstance(latest, int) else None
        if hides_queue:
            return
        why = "its events were dropped" if cut else "the runtime was started anew"
        self._lose(session_id, why, known)

    def _lose(self, session_id: str, why: str, known: frozenset[Any] = frozenset()) -> None:
        """End the turns of a session but those `known` to go on; one whose end came already is not harmed."""
        for turn in [*self._turns.values()]:
            if turn.session_id == session_id and turn.turn_id not in known:
                text = f"the end of this turn was missed: {why}"
                turn.fail(TurnFailedError("TurnLost", text, turn_id=turn.turn_id))

    def _give_up(self, failure: BaseException) -> None:
        for turn in [*self._turns.values()]:
            turn.fail(failure)
        self._turns.clear()
        self._forget_subscriptions()

    def _forget_subscriptions(self) -> None:
        """Forget the subscriptions of a socket that is closed."""
        self._watched.clear()
        self._rejoined.clear()
        self._resynced.clear()
        self._replayed_to.clear()
