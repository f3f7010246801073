"""`Switch`: leads the clients of workers to another runtime for a while; `attach` turns it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from dnworker.core.listeners import Listeners

if TYPE_CHECKING:
    from dnworker.client.connection import Connection, TurnEvents
    from dnworker.core.envelope import EventEnvelope


class Attached(Protocol):
    """What an engine knows of its attachment to another runtime."""

    url: str
    is_live: bool
    runtime_id: str | None

    async def detach(self) -> None:
        """End it, and restore all clients."""


class Switch:
    """Where the clients of all workers lead: to their own runtime, or to what an attachment gives them."""

    def __init__(self) -> None:
        self.route: Callable[[str], Connection] | None = None
        """Returns the connection of a worker, by its qualified name; None where they have their own."""
        self.heard: Counter[str] = Counter()
        """The kinds that clients listen to now, and how many do; `""` is every kind."""
        self.changed: Listeners[[]] = Listeners()
        """Called after those kinds have changed."""

    def hear(self, kinds: Collection[str]) -> Callable[[], None]:
        """Count what a client listens to; returns the function that ends it."""
        counted = [*kinds] or [""]
        self.heard.update(counted)
        self.changed.notify()

        def end() -> None:
            self.heard.subtract(counted)
            for kind in counted:
                if not self.heard[kind]:
                    del self.heard[kind]
            self.changed.notify()

        return end


class SwitchedConnection:
    """The connection of one worker: each call goes where the switch leads at that moment.

    Handlers keep their client while the switch turns. What belongs together stays together: a turn, and the
    body of `once`, end where they have begun.
    """

    def __init__(self, own: Connection, worker: str, switch: Switch) -> None:
        self._own = own
        self._worker = worker
        self._switch = switch
        self._claims: dict[str, Connection] = {}

    @property
    def _now(self) -> Connection:
        route = self._switch.route
        return self._own if route is None else route(self._worker)

    @property
    def has_groups(self) -> bool:
        """Whether session groups may exist where it leads now."""
        return self._now.has_groups

    @has_groups.setter
    def has_groups(self, value: bool) -> None:
        self._now.has_groups = value

    @property
    def copies_payloads(self) -> bool:
        """Whether what it leads to checks and copies payloads at once, so that clients need not."""
        return self._switch.route is None and getattr(self._own, "copies_payloads", False)

    async def start(self) -> None:
        """Start its own connection; an attachment starts those that it gives."""
        await self._own.start()

    async def close(self) -> None:
        """Close its own connection; an attachment closes those that it gives."""
        await self._own.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        timeout: float | None = None,
    ) -> Any:
        """Call an endpoint and return its JSON."""
        return await self._now.request(method, path, query=query, body=body, timeout=timeout)

    async def publish(
        self, kind: str, payload: dict[str, Any], session_id: str | None, dedupe: str | None = None
    ) -> dict[str, Any]:
        """Publish and return `{event_id, seq}`."""
        return await self._now.publish(kind, payload, session_id, dedupe)

    async def begin_once(self, key: str, claim: str) -> bool:
        """Return whether the body of a key is to run here."""
        now = self._now
        if now is not self._own:
            self._claims[claim] = now
        return await now.begin_once(key, claim)

    async def end_once(self, claim: str, *, done: bool) -> None:
        """Leave the body, where it was entered."""
        await self._claims.pop(claim, self._own).end_once(claim, done=done)

    async def events(self, kinds: Collection[str]) -> AsyncIterator[EventEnvelope]:
        """Iterate over events of its own runtime: an attachment brings those of the other one there."""
        events = self._own.events(kinds)
        end = self._switch.hear(kinds)
        try:
            async for envelope in events:
                yield envelope
        finally:
            end()
            if (aclose := getattr(events, "aclose", None)) is not None:
                await aclose()

    async def start_turn(self, session_id: str, fields: dict[str, Any]) -> TurnEvents:
        """Start a turn; its events come from where it was started."""
        return await self._now.start_turn(session_id, fields)

    async def cancel_turn(self, session_id: str, fields: dict[str, Any]) -> str:
        """Cancel a turn; returns `cancelled` or `idle`."""
        return await self._now.cancel_turn(session_id, fields)

    async def respond(self, session_id: str, fields: dict[str, Any]) -> None:
        """Answer a question or a permission of a turn."""
        await self._now.respond(session_id, fields)

    async def watch(self, session_id: str) -> None:
        """Receive the session's events; it is created if need be."""
        await self._now.watch(session_id)

    async def unwatch(self, session_id: str) -> None:
        """Receive the session's events no longer."""
        await self._now.unwatch(session_id)
