"""The socket `/api/ws`: receives commands, sends acks and events of subscribed sessions (contract 7.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from dnworker.core.envelope import SCHEMA_VERSION, EventEnvelope, encode
from dnworker.core.errors import (
    ApiError,
    CommandError,
    RuntimeUnavailable,
    SubscriberTooSlow,
    TurnFailedError,
)
from dnworker.core.ids import new_id
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.events.brokers.subscription import Subscription
from dnworker.events.bus import SUBSCRIBER_LIMIT
from dnworker.events.missed import missed
from dnworker.server import diverted
from dnworker.server.cutting import within
from dnworker.server.rights import COMMANDS, Right, lacks
from dnworker.sessions.prompts import check_response
from dnworker.sessions.turn import TurnRequest

if TYPE_CHECKING:
    from dnworker.client.connection import Connection, TurnEvents
    from dnworker.engine.engine import Engine

FRAME_CAP = 31_457_280
NOT_GREETED = 4400

CANCELLING_AT_ONCE = 64
"""Turns that one client cancels while it goes on; further commands wait for the next of these."""


class Command(msgspec.Struct, kw_only=True):
    """One frame of the client; unknown keys are ignored."""

    command_id: Annotated[str, Meta(min_length=1)]
    op: str
    session_id: str | None = None
    payload: dict[str, Any] = {}
    schema_version: int = SCHEMA_VERSION
    traceparent: str | None = None
    """Ours alone: the handler that asks, in the form of the HTTP header."""


class Control(msgspec.Struct, kw_only=True):
    """One frame of the server that is no event."""

    schema_version: int = SCHEMA_VERSION
    connection_id: str
    command_id: str | None
    session_id: str | None
    timestamp: datetime
    kind: str
    payload: dict[str, Any]


class _Subscribe(msgspec.Struct):
    after_seq: Annotated[int, Meta(ge=0)] | None = None


class _Start(msgspec.Struct, kw_only=True):
    message: str
    model: str | None = None
    agent: str | None = None
    reset: bool = False
    generate_params_extra: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class _Cancel(msgspec.Struct, kw_only=True):
    turn_id: str | None = None
    drop_queued: bool = False


class _Problem(Exception):
    """A command that cannot be done; `status` and the text go into `command.error`."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


Operation = Callable[["_Socket", Command], Awaitable[dict[str, Any] | None]]
"""Executes a command and returns the fields of its ack beside `op`; None when it has answered itself."""


class _Socket:
    """One client: which sessions it watches, and its commands."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._engine: Engine = socket.scope["engine"]
        self._id = f"conn_{new_id()}"
        self._greeted = False
        self._pumps: dict[str, tuple[Subscription, asyncio.Task[None]]] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._overflows: set[asyncio.Task[bool]] = set()

    async def serve(self) -> None:
        """Take commands until the client goes; turns that it started go on."""
        await self._socket.accept()
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._take(message.get("text") or message.get("bytes") or "")
        except WebSocketDisconnect:
            return
        finally:
            tasks: list[asyncio.Task[Any]] = [*self._cancelling, *self._overflows]
            for session_id in [*self._pumps]:
                tasks.append(self._drop_pump(session_id))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, frame: str | bytes) -> None:
        try:
            command = msgspec.json.decode(frame, type=Command)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            await self._control(
                None, None, "command.error", {"detail": f"not a command: {exc}", "status_code": 400}
            )
            return
        is_quick = command.op != "turn.cancel" or len(self._cancelling) >= CANCELLING_AT_ONCE
        if not is_quick and self._greeted:  # it may take a while; others need not wait
            task = asyncio.create_task(self._carry_out(command), name="turn.cancel")
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)
            return
        await self._carry_out(command)

    async def _carry_out(self, command: Command) -> None:
        cause = self._cause(command)
        token = current_invocation.set(cause)
        try:
            operation, route = self._operation(command), diverted.route_of(self._socket.scope)
            if route is not None and command.op in diverted.COMMANDS:
                operation = partial(_Socket.elsewhere, route=route)
            detail = await operation(self, command)
        except _Problem as exc:
            await self._refuse(command, exc.status, str(exc))
        except msgspec.ValidationError as exc:
            await self._refuse(command, 400, f"payload: {exc}")
        except ApiError as exc:
            await self._refuse(command, 400 if exc.status in (413, 422) else exc.status, exc.detail)
        except CommandError as exc:  # of another runtime
            await self._refuse(command, exc.status_code, str(exc))
        except RuntimeUnavailable as exc:
            await self._refuse(command, 503, str(exc))
        else:
            if detail is not None:
                await self._answer(command, "command.ack", {"op": command.op} | detail)
        finally:
            current_invocation.reset(token)

    def _cause(self, command: Command) -> Invocation | None:
        worker = self._socket.scope.get("worker")
        if worker is None or command.traceparent is None:
            return None
        return self._engine.capabilities.cause_of(worker, command.traceparent)

    def _operation(self, command: Command) -> Operation:
        operation = _OPERATIONS.get(command.op)
        if not self._greeted and command.op != "hello":
            raise _Problem("say hello first", NOT_GREETED)
        if command.op not in ("hello", "ping"):
            _session_id(command)
        if operation is None:
            raise _Problem(f"unsupported op {command.op!r}; there are: {', '.join(_OPERATIONS)}")
        right = COMMANDS.get(command.op, Right.OPERATE)
        if (refusal := lacks(self._socket.scope, right, self._engine.tokens)) is not None:
            raise _Problem(refusal, 403)
        return operation

    async def elsewhere(self, command: Command, route: Connection) -> dict[str, Any]:
        """Carry a command out where the clients of workers lead to now."""
        detail, turn = await diverted.command(route, command.op, _session_id(command), command.payload)
        if turn is not None:
            task = asyncio.create_task(self._pump_turn(turn), name="events of a turn elsewhere")
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)
        return detail

    async def _pump_turn(self, turn: TurnEvents) -> None:
        try:
            async for envelope in turn:
                frame = capped(msgspec.structs.replace(envelope, connection_id=self._id))
                await self._socket.send_text(frame.decode())
        except (TurnFailedError, RuntimeUnavailable) as exc:  # its end was missed
            detail = {"detail": f"the events of turn {turn.turn_id} have ended: {exc}"}
            await self._control(None, None, "transport.forwarder_failed", detail)
        except WebSocketDisconnect:
            return
        finally:
            turn.close()

    # -- the operations --------------------------------------------------------------------------------

    async def hello(self, command: Command) -> None:
        """Greet, as often as the client likes."""
        self._greeted = True
        await self._answer(command, "hello.ack", {"supported_ops": list(_OPERATIONS)})

    async def ping(self, command: Command) -> None:
        """Show that somebody is there."""
        await self._answer(command, "pong", {"op": "ping"})

    async def subscribe(self, command: Command) -> None:
        """Send the session's state, what was missed, and everything from now on."""
        fields = msgspec.convert(command.payload, _Subscribe)
        session = await self._engine.commands.watch(_session_id(command))
        self._unsubscribe(session.session_id)
        bus = self._engine.bus
        earlier: list[EventEnvelope] | None = []
        if fields.after_seq is not None:
            earlier = await missed(bus, session.session_id, fields.after_seq, session.since_seq)
        latest, oldest = bus.bounds(session.session_id)
        is_missed = earlier is None
        after = latest if earlier is None or fields.after_seq is None else fields.after_seq
        subscription = bus.subscribe(
            session_id=session.session_id,
            after_seq=earlier[-1].seq if earlier else after,
            replay=True,
            limit=SUBSCRIBER_LIMIT,
            max_bytes=self._engine.limits.subscriber,
            queued=earlier or (),
        )
        over = asyncio.Event()
        subscription.on_overflow = partial(self._fell_behind, over)
        try:
            snapshot = await self._engine.commands.snapshot(session.session_id)
            await self._answer(command, "command.ack", {"op": "subscribe"})
            if is_missed:
                gap = {"after_seq": fields.after_seq, "latest_seq": latest, "oldest_buffered_seq": oldest}
                await self._control(None, session.session_id, "transport.resync_required", gap)
            await self._control(None, session.session_id, "session.snapshot", snapshot)
        except BaseException:
            subscription.close()
            over.set()
            raise
        task = asyncio.create_task(self._pump(session.session_id, subscription), name="session events")
        task.add_done_callback(lambda _: over.set())
        self._pumps[session.session_id] = subscription, task

    async def unsubscribe(self, command: Command) -> dict[str, Any]:
        """Send nothing more of the session."""
        self._unsubscribe(_session_id(command))
        return {}

    async def start(self, command: Command) -> dict[str, Any]:
        """Accept a turn."""
        if self._socket.scope.get("worker") is None:
            self._engine.drain.check_open()
        fields = msgspec.convert(command.payload, _Start)
        request = TurnRequest(
            message=fields.message,
            agent=fields.agent or None,
            model=fields.model or None,
            reset=fields.reset,
            generate_params_extra=fields.generate_params_extra or {},
            metadata=fields.metadata or {},
        )
        return {"turn_id": await self._engine.commands.start(_session_id(command), request)}

    async def cancel(self, command: Command) -> dict[str, Any]:
        """Cancel a turn; its last event goes out before the ack."""
        fields = msgspec.convert(command.payload, _Cancel)
        session_id = _session_id(command)
        status = await self._engine.commands.cancel(
            session_id, fields.turn_id, drop_queued=fields.drop_queued
        )
        if (pumped := self._pumps.get(session_id)) is not None:
            await pumped[0].drained()
        return {"status": status}

    async def respond(self, command: Command) -> dict[str, Any]:
        """Answer a question or a permission."""
        try:
            response = check_response(command.payload)
        except ValueError as exc:
            raise _Problem(str(exc)) from exc
        await self._engine.commands.respond(_session_id(command), response)
        return {"request_id": response.request_id, "status": "resolved"}

    # -- what goes out ---------------------------------------------------------------------------------

    async def _pump(self, session_id: str, subscription: Subscription) -> None:
        try:
            async for envelope in subscription:
                await self._socket.send_text(
                    capped(msgspec.structs.replace(envelope, connection_id=self._id)).decode()
                )
        except SubscriberTooSlow as exc:
            await self._control(None, session_id, "transport.forwarder_failed", {"detail": str(exc)})
        except WebSocketDisconnect:
            return
        finally:
            subscription.close()

    def _fell_behind(self, over: asyncio.Event) -> None:
        """Give the client some seconds to read what is queued and that it fell behind, or cut it off."""
        sent = within(self._socket.scope, over.wait())
        waiting = asyncio.create_task(sent, name="session events overflow")
        self._overflows.add(waiting)
        waiting.add_done_callback(self._overflows.discard)

    async def _answer(self, command: Command, kind: str, payload: dict[str, Any]) -> None:
        await self._control(command.command_id, command.session_id, kind, payload)

    async def _refuse(self, command: Command, status: int, detail: object) -> None:
        payload = {"detail": detail, "status_code": status, "op": command.op}
        await self._answer(command, "command.error", payload)

    async def _control(
        self, command_id: str | None, session_id: str | None, kind: str, payload: dict[str, Any]
    ) -> None:
        frame = Control(
            connection_id=self._id,
            command_id=command_id,
            session_id=session_id,
            timestamp=self._engine.clock.now(),
            kind=kind,
            payload=payload,
        )
        await self._socket.send_text(msgspec.json.encode(frame).decode())

    def _unsubscribe(self, session_id: str) -> None:
        if session_id in self._pumps:
            self._drop_pump(session_id).cancel()

    def _drop_pump(self, session_id: str) -> asyncio.Task[None]:
        subscription, task = self._pumps.pop(session_id)
        subscription.close()
        return task


_OPERATIONS: dict[str, Operation] = {
    "hello": _Socket.hello,
    "subscribe": _Socket.subscribe,
    "unsubscribe": _Socket.unsubscribe,
    "turn.start": _Socket.start,
    "turn.cancel": _Socket.cancel,
    "prompt.respond": _Socket.respond,
    "ping": _Socket.ping,
}


def _session_id(command: Command) -> str:
    """Return the session that a command is about.

    Raises:
        _Problem: it names none.
    """
    if not command.session_id:
        raise _Problem("session_id is required")
    return command.session_id


def capped(envelope: EventEnvelope) -> bytes:
    """Return the envelope's JSON; a payload over the cap is replaced by a marker (contract 7)."""
    frame = encode(envelope)
    if len(frame) <= FRAME_CAP:
        return frame
    marker = {
        "dreadnode_truncated": True,
        "reason": "the frame is over the cap",
        "original_bytes": len(frame),
        "cap_bytes": FRAME_CAP,
    }
    return encode(msgspec.structs.replace(envelope, payload=marker))


async def serve(socket: WebSocket) -> None:
    """Serve one client."""
    await _Socket(socket).serve()


routes = [WebSocketRoute("/api/ws", serve)]
