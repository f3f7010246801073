"""What tests of workers need: events, a client that records, a virtual clock, a scripted model.

The fixtures `runtime`, `fake_client`, `fake_ws` and `virtual_clock` come with the installed pytest plugin.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.core.clock import VirtualClock, turn_loop
from dnworker.core.envelope import EventEnvelope, check_publishable, snapshot
from dnworker.core.keys import check_key

if TYPE_CHECKING:
    from dnworker.testing.model_server import Breaks, Calls, ModelServer, Refuses, Says, Waits
    from dnworker.testing.shared_broker import SharedBroker, SharedStore
    from dnworker.workers.worker import Worker

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
    """Make an event to hand to a handler: `await handler(make_envelope("turn.completed", {...}), client)`."""
    copy, _ = snapshot(payload)
    return EventEnvelope(seq=seq, kind=kind, payload=copy, session_id=session_id, **fields)


@dataclass(frozen=True)
class Call:
    """One call that a handler made on a `FakeClient`."""

    method: str
    arguments: dict[str, Any]


@dataclass
class FakeClient:
    """Stands in for `RuntimeClient`: records what handlers do, and returns prepared answers.

    `answers[method]` is returned by that method; an exception is raised, a function called with the
    keyword arguments.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    groups_sessions: bool = True
    calls: list[Call] = field(default_factory=list)
    keys: dict[str, Any] = field(default_factory=dict)
    """Keys of `once` whose body has ended well, and those of `publish(dedupe=...)` with its first answer."""

    @property
    def published(self) -> list[tuple[str, dict[str, Any]]]:
        """Kind and payload of everything published, notifications included."""
        return [(c.arguments["kind"], c.arguments["payload"]) for c in self.calls if c.method == "publish"]

    async def publish(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        dedupe: str | None = None,
    ) -> Any:
        """Record it, with the checks that the real client makes; the second of a key is not published."""
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
        """Record it; False where a body of the key has ended well."""
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
        """Record it as the event that it is."""
        payload = {"source": source or "", "title": title, "body": body, "severity": severity}
        return await self.publish("notify", payload, session_id=session_id)

    @asynccontextmanager
    async def session_group(self, title: str, **fields: Any) -> AsyncIterator[None]:
        """Record it; there is no group."""
        self._answer("session_group", title=title, **fields)
        yield None

    async def stream_chat(self, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        """Record it; `answers["stream_chat"]` is the list of raw events to yield."""
        for raw in self._answer("stream_chat", **fields) or ():
            yield raw

    async def subscribe(self, *kinds: str) -> AsyncIterator[EventEnvelope]:
        """Record it; `answers["subscribe"]` is the list of events to yield."""
        for envelope in self._answer("subscribe", kinds=kinds) or ():
            yield envelope

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        async def call(*args: Any, **fields: Any) -> Any:
            return self._answer(method, **({"args": args} if args else {}), **fields)

        return call

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
    """

    incoming: list[Any] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    closed: bool = False

    async def send(self, message: Any) -> None:
        """Record it; `send_json`, `send_text`, `send_str` and `send_bytes` do the same."""
        self.sent.append(_said(message))

    send_json = send_text = send_str = send_bytes = send

    async def close(self, *args: Any, **fields: Any) -> None:
        """Be closed."""
        self.closed = True

    async def recv(self) -> Any:
        """Return the next of `incoming`.

        Raises:
            EOFError: there is no more.
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

    `name` is the worker's, by default the file's. What stands under `if __name__ == "__main__":` does not
    run; modules beside the script are found.

    Raises:
        ValueError: the file makes no Worker, more than one, or one of another name.
        OSError: it cannot be read.
    """
    from dnworker import compat
    from dnworker.workers.loading import load_worker as load

    compat.install()
    file = Path(script).resolve()
    return load(file.parent, file.parent.name, name or file.stem, file)
