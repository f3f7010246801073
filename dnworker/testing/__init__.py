"""What tests of workers need: events, a client that records, a virtual clock, a scripted model.

The fixtures `runtime`, `fake_client`, `fake_ws` and `virtual_clock` come with the installed pytest plugin.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from os import PathLike
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from dnworker.client.client import RuntimeClient, unknown_attribute
from dnworker.core.clock import VirtualClock, turn_loop
from dnworker.core.envelope import EventEnvelope, check_publishable, snapshot
from dnworker.core.keys import check_key
from dnworker.testing.turns import assert_turn

if TYPE_CHECKING:
    from dnworker.testing.model_server import Breaks, Calls, ModelServer, Refuses, Says, Waits
    from dnworker.testing.shared_broker import SharedBroker, SharedStore
    from dnworker.workers.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")

__all__ = [
    "Breaks",
    "Call",
    "Calls",
    "FakeClient",
    "FakeWebSocket",
    "ModelServer",
    "Refuses",
    "Says",
    "SharedBroker",
    "SharedStore",
    "VirtualClock",
    "Waits",
    "assert_turn",
    "load_worker",
    "make_envelope",
    "turn_loop",
]


def __getattr__(name: str) -> Any:
    if name in ("SharedBroker", "SharedStore"):
        from dnworker.testing import shared_broker

        return getattr(shared_broker, name)
    if name not in ("Breaks", "Calls", "ModelServer", "Refuses", "Says", "Waits"):
        raise AttributeError(f"module 'dnworker.testing' has no attribute {name!r}")
    # Not at the top: it needs the server's libraries, which a worker script does without.
    from dnworker.testing import model_server

    return getattr(model_server, name)


def make_envelope(
    kind: str,
    payload: dict[str, Any] | None = None,
    *,
    session_id: str | None = None,
    seq: int = 1,
    **fields: Any,
) -> EventEnvelope:
    """Make an event to hand to a handler.

    Args:
        kind: the event's name; any kind is allowed.
        payload: a JSON object as a dict; None for `{}`.
        session_id: the session that it belongs to; None for none.
        seq: its number.
        **fields: other fields of `EventEnvelope`, such as `turn_id`.

    Returns:
        The `EventEnvelope`.

    Raises:
        Invalid: the payload is not a JSON object; names the field.
        TooLarge: the payload is over 1,000,000 bytes of JSON.

    Examples:
        >>> @worker.on_event("turn.completed")
        ... async def on_turn(event, client):
        ...     await client.notify(f"turn {event.turn_id} is done")
        >>> fake = FakeClient()
        >>> await on_turn(make_envelope("turn.completed", turn_id="t1"), fake)
        >>> fake.published[0][1]["title"]
        'turn t1 is done'
    """
    copy, _ = snapshot(payload)
    return EventEnvelope(seq=seq, kind=kind, payload=copy, session_id=session_id, **fields)


@dataclass(frozen=True)
class Call:
    """One call that a handler made on a `FakeClient`.

    Attributes:
        method: the name, such as `publish`.
        arguments: its arguments by name, as a dict.

    Examples:
        >>> fake = FakeClient()
        >>> _ = await fake.publish("demo.greeted", {"name": "Ada"})
        >>> fake.calls[0].method, fake.calls[0].arguments["kind"]
        ('publish', 'demo.greeted')
    """

    method: str
    arguments: dict[str, Any]


def _takes_what(
    real: Callable[Concatenate[Any, P], R],
) -> Callable[[Callable[..., R]], Callable[Concatenate[Any, P], R]]:
    """Return a decorator for a method of the fake, which refuses arguments that the real one refuses."""
    signature = inspect.signature(real)

    def decorate(method: Callable[..., R]) -> Callable[Concatenate[Any, P], R]:
        @wraps(method)
        def call(self: Any, /, *args: P.args, **fields: P.kwargs) -> R:
            try:
                signature.bind(self, *args, **fields)
            except TypeError as exc:
                raise TypeError(f"{real.__name__}(): {exc}") from None
            return method(self, *args, **fields)

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate


@dataclass
class FakeClient:
    """Stands in for `RuntimeClient`: records what handlers do, and returns prepared answers.

    It has every method of the client, which takes what that of the client takes; those that are not listed
    here record the call and return `answers[method]`.

    Attributes:
        answers: what methods return, by their names. An exception is raised, a function is called with the
            keyword arguments.
        groups_sessions, server_url, fence, is_started: as of the client.
        calls: what was called, in order, as `Call`s.
        keys: keys of `once` whose body has ended well, and those of `publish(dedupe=...)` with the first
            answer.

    Examples:
        >>> fake = FakeClient(answers={"run_turn": {"response_text": "refund it"}})
        >>> end = await fake.run_turn(session_id="s", message="What now?")
        >>> end["response_text"], fake.calls[0].arguments["message"]
        ('refund it', 'What now?')
    """

    answers: dict[str, Any] = field(default_factory=dict)
    groups_sessions: bool = True
    calls: list[Call] = field(default_factory=list)
    keys: dict[str, Any] = field(default_factory=dict)
    """Keys of `once` whose body has ended well, and those of `publish(dedupe=...)` with its first answer."""
    server_url: str = ""
    fence: int | None = None
    is_started: bool = True

    @property
    def published(self) -> list[tuple[str, dict[str, Any]]]:
        """Kind and payload of everything that was published, notifications included, in order."""
        return [(c.arguments["kind"], c.arguments["payload"]) for c in self.calls if c.method == "publish"]

    async def publish(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        dedupe: str | None = None,
    ) -> Any:
        """Record it, with the checks that the real client makes; the second of a key is not published.

        Args:
            kind: the event's name.
            payload: a JSON object as a dict; None for `{}`.
            session_id: the session that it belongs to.
            dedupe: a key, as of `RuntimeClient.publish`.

        Returns:
            `answers["publish"]`; without it `{"event_id": "000...", "seq": 1}`.

        Raises:
            ReservedKind: the kind starts with a prefix of the runtime.
            Invalid: the payload is not a JSON object, or the key is empty or too long.

        Examples:
            >>> fake = FakeClient()
            >>> answer = await fake.publish("demo.greeted", {"name": "Ada"})
            >>> fake.published
            [('demo.greeted', {'name': 'Ada'})]
        """
        copy, _ = snapshot(payload)
        given: dict[str, Any] = {"kind": check_publishable(kind), "payload": copy, "session_id": session_id}
        if dedupe is None:
            return self._answer("publish", **given)
        name = f"dedupe/{check_key(dedupe)}"
        if name not in self.keys:
            self.keys[name] = self._answer("publish", **given, dedupe=dedupe)
            return {**self.keys[name], "duplicate": False}
        return {**self.keys[name], "duplicate": True}

    @asynccontextmanager
    async def once(self, key: str) -> AsyncIterator[bool]:
        """Record it; gives False where a body of the key has ended well with this client.

        Args:
            key: what is done, as text of 1 to 512 characters.

        Yields:
            Whether the body is to do it.

        Raises:
            Invalid: the key is empty or too long.

        Examples:
            >>> fake = FakeClient()
            >>> for _ in range(2):
            ...     async with fake.once("charge/7") as first:
            ...         print(first)
            True
            False
        """
        name = f"once/{check_key(key)}"
        self._answer("once", key=key)
        yield name not in self.keys
        self.keys[name] = True

    async def notify(
        self,
        title: str,
        *,
        body: str | None = None,
        severity: str = "info",
        source: str | None = None,
        session_id: str | None = None,
    ) -> Any:
        """Record it as the event of kind `notify` that it is.

        Args:
            title: one line.
            body: more text; None for none.
            severity: `info`, `warning`, `error` or `success`.
            source: who says so.
            session_id: the session that it is about.

        Returns:
            As of `publish`.

        Examples:
            >>> fake = FakeClient()
            >>> answer = await fake.notify("the disk is full", severity="error")
            >>> fake.published[0][0], fake.published[0][1]["severity"]
            ('notify', 'error')
        """
        payload = {"source": source or "", "title": title, "body": body, "severity": severity}
        return await self.publish("notify", payload, session_id=session_id)

    @_takes_what(RuntimeClient.session_group)
    @asynccontextmanager
    async def session_group(self, title: str, **fields: Any) -> AsyncIterator[str | None]:
        """Record it; there is no group.

        Args:
            title: of the group.
            kind: of the group.
            project: of a platform.
            capability: the worker's.
            capability_version: the worker's.
            worker: its name.
            metadata: a JSON object.

        Yields:
            None.

        Raises:
            TypeError: the real client does not take these arguments.

        Examples:
            >>> fake = FakeClient()
            >>> async with fake.session_group("nightly") as group_id:
            ...     print(group_id)
            None
        """
        self._answer("session_group", title=title, **fields)
        yield None

    def workflow(self, title: str, **fields: Any) -> AbstractAsyncContextManager[str | None]:
        """Do the same as `session_group`; deprecated, its old name.

        Args:
            title: of the group.
            **fields: as of `session_group`.

        Returns:
            What `session_group` returns.

        Raises:
            TypeError: the real client does not take these arguments.
        """
        warnings.warn("workflow() is now called session_group()", DeprecationWarning, stacklevel=2)
        return self.session_group(title, **fields)

    @_takes_what(RuntimeClient.stream_chat)
    async def stream_chat(self, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        """Record it, and give what was prepared.

        Args:
            session_id: the session.
            message: what the user says.
            model: of this turn.
            agent: who answers it.
            reset: whether the messages before are forgotten.
            generate_params_extra: parameters for the model.

        Yields:
            Each of the list `answers["stream_chat"]`, dicts as of `RuntimeClient.stream_chat`.

        Raises:
            TypeError: the real client does not take these arguments.

        Examples:
            >>> piece = {"type": "generationcontent", "data": {"content": "hello"}}
            >>> fake = FakeClient(answers={"stream_chat": [piece]})
            >>> async for raw in fake.stream_chat(session_id="s", message="hi"):
            ...     print(raw["data"]["content"])
            hello
        """
        for raw in self._answer("stream_chat", **fields) or ():
            yield raw

    async def subscribe(self, *kinds: str) -> AsyncIterator[EventEnvelope]:
        """Record it, and give what was prepared.

        Args:
            *kinds: the kinds.

        Yields:
            Each of the list `answers["subscribe"]`, made with `make_envelope`.

        Examples:
            >>> fake = FakeClient(answers={"subscribe": [make_envelope("demo.greeted", {"name": "Ada"})]})
            >>> async for event in fake.subscribe("demo.greeted"):
            ...     print(event.payload["name"])
            Ada
        """
        for envelope in self._answer("subscribe", kinds=kinds) or ():
            yield envelope

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)
        real = inspect.getattr_static(RuntimeClient, method, None)
        if not inspect.isfunction(real):
            raise unknown_attribute(method)

        async def call(self: FakeClient, *args: Any, **fields: Any) -> Any:
            return self._answer(method, **({"args": args} if args else {}), **fields)

        bound: Callable[..., Any] = MethodType(_takes_what(real)(call), self)
        return bound

    def _answer(self, method: str, **arguments: Any) -> Any:
        self.calls.append(Call(method, arguments))
        answer = self.answers.get(method, {"event_id": "0" * 32, "seq": 1} if method == "publish" else None)
        if isinstance(answer, BaseException):
            raise answer
        return answer(**arguments) if callable(answer) else answer


@dataclass
class FakeWebSocket:
    """Stands in for the connection that a worker keeps to somebody else: records what is sent.

    Text or bytes that are a JSON object or list are recorded as what they say. Iterating yields `incoming`,
    and ends there. Every other method, such as `ping`, may be awaited and does nothing.

    Attributes:
        incoming: what is received, in order.
        sent: what was sent, in order.
        closed: whether it was closed.

    Examples:
        >>> ws = FakeWebSocket(incoming=["ping"])
        >>> async for message in ws:
        ...     await ws.send('{"answer": "pong"}')
        >>> ws.sent
        [{'answer': 'pong'}]
    """

    incoming: list[Any] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    closed: bool = False

    async def send(self, message: Any) -> None:
        """Record it; `send_json`, `send_text`, `send_str` and `send_bytes` do the same.

        Args:
            message: text, bytes, or what JSON has a form for.

        Examples:
            >>> ws = FakeWebSocket()
            >>> await ws.send("hello")
            >>> ws.sent
            ['hello']
        """
        self.sent.append(_said(message))

    send_json = send_text = send_str = send_bytes = send

    async def close(self, *args: Any, **fields: Any) -> None:
        """Set `closed`.

        Args:
            *args: such as a code; not looked at.
            **fields: not looked at.

        Examples:
            >>> ws = FakeWebSocket()
            >>> await ws.close()
            >>> ws.closed
            True
        """
        self.closed = True

    async def recv(self) -> Any:
        """Take the first message out of `incoming`, and return it.

        Returns:
            The message.

        Raises:
            EOFError: there is no more.

        Examples:
            >>> ws = FakeWebSocket(incoming=["hello"])
            >>> await ws.recv()
            'hello'
        """
        if not self.incoming:
            raise EOFError("nothing more is incoming; put messages into fake_ws.incoming")
        return self.incoming.pop(0)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while self.incoming:
            yield self.incoming.pop(0)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        async def call(*args: Any, **fields: Any) -> None:
            return None

        return call


def _said(message: Any) -> Any:
    """Return what a JSON object or list says; anything else as it is."""
    if isinstance(message, str | bytes) and message.lstrip()[:1] in ("{", "[", b"{", b"["):
        with suppress(ValueError):
            return json.loads(message)
    return message


def load_worker(script: str | PathLike[str], name: str | None = None) -> Worker:
    """Execute a worker's script, as the runtime would, and return the Worker that it makes.

    What stands under `if __name__ == "__main__":` does not run; modules beside the script are found.

    Args:
        script: the file.
        name: the worker's; by default the file's name without `.py`.

    Returns:
        The `Worker`.

    Raises:
        ValueError: the file makes no Worker, more than one, or one of another name.
        OSError: it cannot be read.

    Examples:
        >>> loaded = load_worker("demo/workers/relay.py")
        >>> loaded.name, loaded.handler_count
        ('relay', 1)
    """
    from dnworker import compat
    from dnworker.workers.loading import load_worker as load

    compat.install()
    file = Path(script).resolve()
    return load(file.parent, file.parent.name, name or file.stem, file)
