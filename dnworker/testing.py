"""What tests of workers need: envelopes, a client that records, a clock that stands still.

The fixtures `runtime`, `fake_client` and `virtual_clock` come with the installed pytest plugin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from dnworker.clock import VirtualClock, turn_loop
from dnworker.events import EventEnvelope, check_publishable, snapshot

__all__ = ["Call", "FakeClient", "VirtualClock", "make_envelope", "turn_loop"]


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
    """Stands in for `RuntimeClient`: records what handlers do, and answers as it is told.

    `answers[method]` is returned by that method; an exception is raised, a function called with the
    keyword arguments.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    groups_sessions: bool = True
    calls: list[Call] = field(default_factory=list)

    @property
    def published(self) -> list[tuple[str, dict[str, Any]]]:
        """Kind and payload of everything published, notifications included."""
        return [(c.arguments["kind"], c.arguments["payload"]) for c in self.calls if c.method == "publish"]

    async def publish(
        self, kind: str, payload: dict[str, Any] | None = None, *, session_id: str | None = None
    ) -> Any:
        """Record it, with the checks that the real client makes."""
        copy, _ = snapshot(payload)
        return self._answer("publish", kind=check_publishable(kind), payload=copy, session_id=session_id)

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
