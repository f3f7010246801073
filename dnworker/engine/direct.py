"""`DirectConnection`: connects a client in the runtime's own process by calls, without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from dnworker.client.connection import TurnEvents, checked, encode_fields, read_answer
from dnworker.core.envelope import EventEnvelope, check_publishable, own, pack
from dnworker.core.errors import CODE_HEADER, ApiError, CommandError, code_of, with_code
from dnworker.events.brokers.subscription import Subscription

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp

    from dnworker.engine.dedupe import Deduped
    from dnworker.engine.once import OnceKeys
    from dnworker.engine.payload_checks import PayloadChecks
    from dnworker.events.bus import EventBus
    from dnworker.sessions.commands import SessionCommands


class Callee(Protocol):
    """What a client in this process calls; an `Engine` is one."""

    bus: EventBus

    @property
    def commands(self) -> SessionCommands:
        """What clients want of sessions and turns."""

    @property
    def once(self) -> OnceKeys:
        """The keys of `once`."""

    @property
    def payload_checks(self) -> PayloadChecks:
        """Refuses payloads that break what is declared of their kind."""

    @property
    def deduped(self) -> Deduped:
        """The keys of `publish(dedupe=...)`."""

    @property
    def app(self) -> ASGIApp:
        """The API as an ASGI application."""

    def publish(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        size: int | None = None,
        event_id: str | None = None,
        may_exist: bool = False,
    ) -> EventEnvelope:
        """Publish as a worker may; a payload of `size` bytes may be packed already."""


class DirectConnection:
    """Calls the runtime, and raises the errors that the HTTP transport would raise.

    What is called all the time (events, turns) goes straight to the runtime; everything else goes through
    the API's own application, in memory, so that there is one implementation of it.

    Args:
        callee: the runtime.
        worker: the qualified name of the worker that calls; empty for the operator.
    """

    has_groups = False  # they are kept by a platform, and there is none here
    copies_payloads = True
    """Whether `publish` checks and copies payloads before all else, so that clients need not."""

    def __init__(self, callee: Callee, worker: str = "") -> None:
        self._callee = callee
        self._worker = worker
        self._http: httpx.AsyncClient | None = None

    async def start(self) -> None:
        """Do nothing: calls need no connection."""

    async def close(self) -> None:
        """Let go of the in-memory client."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        timeout: float | None = None,
    ) -> Any:
        """Call the API's application in this process."""
        if self._http is None:
            import httpx  # it takes long

            transport = httpx.ASGITransport(app=self._callee.app)
            self._http = httpx.AsyncClient(transport=transport, base_url="http://in-process")
        content = None if body is None else encode_fields(body)
        headers = {"Content-Type": "application/json"} if content is not None else {}
        answer = await self._http.request(
            method, path, params=checked(query), content=content, headers=headers, timeout=timeout
        )
        return read_answer(answer)

    async def publish(
        self, kind: str, payload: dict[str, Any], session_id: str | None, dedupe: str | None = None
    ) -> dict[str, Any]:
        """Publish as soon as slow worker processes have room; returns when the event is accepted.

        Where many events wait for readers on this loop, it turns once before that.
        """
        packed: Any
        packed, size = pack(payload)  # first: its owner may change it while this waits
        callee, bus = self._callee, self._callee.bus
        try:  # not `with _as_http()`: every event pays for these lines
            if session_id is not None:
                await callee.commands.shared.look(session_id)
            if bus.pressure:
                check_publishable(kind)
                await bus.pressure.room(kind, session_id)
            callee.payload_checks.check(self._worker, kind, packed)
            if dedupe is not None:
                publish = partial(callee.publish, kind, packed, session_id=session_id, size=size)
                first = await callee.deduped.publish(self._worker, dedupe, publish)
                return {"event_id": first.event_id, "seq": first.seq, "duplicate": first.is_duplicate}
            envelope = callee.publish(kind, packed, session_id=session_id, size=size)
            if bus.is_pending(envelope):
                envelope = await bus.accepted(envelope)
            if bus.is_crowded:  # afterwards: what is published at the same time keeps its order
                await bus.make_way()
        except ApiError as exc:
            raise _of_http(exc) from exc
        return {"event_id": envelope.event_id, "seq": envelope.seq}

    async def begin_once(self, key: str, claim: str) -> bool:
        """Return whether the body of a key is to run here, as soon as nobody else runs it."""
        with _as_http():
            return await self._callee.once.begin(self._worker, key, claim)

    async def end_once(self, claim: str, *, done: bool) -> None:
        """Leave the body."""
        with _as_http():
            await self._callee.once.end(self._worker, claim, done=done)

    def events(self, kinds: Collection[str]) -> AsyncIterator[EventEnvelope]:
        """Subscribe without a bound: within the process nothing is ever lost."""
        return self._callee.bus.subscribe(kinds or None)

    async def start_turn(self, session_id: str, fields: dict[str, Any]) -> TurnEvents:
        """Start it at once; its events come from the bus."""
        from dnworker.sessions.turn import TurnRequest

        checked({"message": fields.get("message")})
        with _as_command():
            request = TurnRequest(**fields)
            request.check()  # first: a turn that is refused creates no session
            await self._callee.commands.open(session_id)
            subscription = self._callee.bus.subscribe(session_id=session_id)
            try:
                turn_id = await self._callee.commands.start(session_id, request)
            except BaseException:
                subscription.close()
                raise
        return _DirectTurn(turn_id, subscription)

    async def cancel_turn(self, session_id: str, fields: dict[str, Any]) -> str:
        """Cancel a turn; returns `cancelled`, or `idle` when there was none."""

        with _as_command():
            return await self._callee.commands.cancel(session_id, **fields)

    async def respond(self, session_id: str, fields: dict[str, Any]) -> None:
        """Answer the prompt that the fields name."""
        from dnworker.sessions.prompts import check_response

        with _as_command():
            try:
                response = check_response(fields)
            except ValueError as exc:
                raise CommandError(str(exc), 400, code="DN608") from exc
            await self._callee.commands.respond(session_id, response)

    async def watch(self, session_id: str) -> None:
        """Create the session; its events are on the bus."""
        with _as_command():
            await self._callee.commands.watch(session_id)

    async def unwatch(self, session_id: str) -> None:
        """Do nothing: `watch` subscribes to nothing."""


class _DirectTurn:
    """The events of one turn, picked from its session's."""

    def __init__(self, turn_id: str, subscription: Subscription) -> None:
        self.turn_id = turn_id
        self._subscription = subscription

    async def __aiter__(self) -> AsyncIterator[EventEnvelope]:
        try:
            async for envelope in self._subscription:
                if envelope.turn_id == self.turn_id:
                    yield own(envelope)
                    if envelope.terminal:
                        return
        finally:
            self.close()

    def close(self) -> None:
        self._subscription.close()


async def call_app(app: ASGIApp, request: dict[str, Any]) -> dict[str, Any]:
    """Call the API for another node, which has checked who may; returns status and body.

    Args:
        app: the API of this runtime.
        request: method, path with query, and body as text.
    """
    import httpx

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://in-process", timeout=None) as http:  # noqa: S113
        headers = {"Content-Type": "application/json"} if request["body"] else {}
        answer = await http.request(
            request["method"], request["path"], content=request["body"] or None, headers=headers
        )
        return {"status": answer.status_code, "body": answer.text}


@contextmanager
def _as_http() -> Iterator[None]:
    try:
        yield
    except ApiError as exc:
        raise _of_http(exc) from exc


def _of_http(exc: ApiError) -> httpx.HTTPStatusError:
    """Return what the HTTP transport would raise."""
    import httpx

    request = httpx.Request("POST", "http://in-process/")
    headers = {CODE_HEADER: code} if (code := code_of(exc)) is not None else None
    response = httpx.Response(exc.status, json={"detail": exc.detail}, request=request, headers=headers)
    return httpx.HTTPStatusError(with_code(exc), request=request, response=response)


@contextmanager
def _as_command() -> Iterator[None]:
    try:
        yield
    except ApiError as exc:
        raise CommandError(
            str(exc), 400 if exc.status in (413, 422) else exc.status, code=code_of(exc) or "DN614"
        ) from exc
