"""`AnyLoop`: the connection of a client in the runtime's process, for callers in whichever thread and loop.

A runtime lives on one loop. What another thread calls, as by `asyncio.run` in a thread that a handler has
started, is done there: futures of that loop never wake who waits for them elsewhere.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from dnworker.client.connection import Connection, TurnEvents
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import RuntimeUnavailable

T = TypeVar("T")

BEGIN_SECONDS = 10.0
"""How long a call waits for a loop that does not turn, as one whose handler joins the calling thread."""


class Home(Protocol):
    """Where a runtime lives; an `Engine` is one."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its loop; raises RuntimeError before the start."""

    @property
    def thread_id(self) -> int:
        """The thread of that loop; 0 before the start."""


class AnyLoop:
    """Passes calls on to another connection, on the runtime's loop."""

    def __init__(self, own: Connection, home: Home) -> None:
        self._own = own
        self._home = home

    @property
    def has_groups(self) -> bool:
        """Whether session groups may exist."""
        return self._own.has_groups

    @has_groups.setter
    def has_groups(self, value: bool) -> None:
        self._own.has_groups = value

    @property
    def copies_payloads(self) -> bool:
        """Whether `publish` checks and copies payloads before all else; not so from another thread."""
        return not self._is_elsewhere and getattr(self._own, "copies_payloads", False)

    async def start(self) -> None:
        """Start it."""
        await self._call(self._own.start)

    async def close(self) -> None:
        """Close it."""
        await self._call(self._own.close)

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
        return await self._call(
            partial(self._own.request, method, path, query=query, body=body, timeout=timeout)
        )

    async def publish(
        self, kind: str, payload: dict[str, Any], session_id: str | None, dedupe: str | None = None
    ) -> dict[str, Any]:
        """Publish and return `{event_id, seq}`."""
        return await self._call(partial(self._own.publish, kind, payload, session_id, dedupe))

    async def begin_once(self, key: str, claim: str) -> bool:
        """Return whether the body of a key is to run here."""
        return await self._call(partial(self._own.begin_once, key, claim))

    async def end_once(self, claim: str, *, done: bool) -> None:
        """Leave the body."""
        await self._call(partial(self._own.end_once, claim, done=done))

    def events(self, kinds: Collection[str]) -> AsyncIterator[EventEnvelope]:
        """Iterate over live events of these kinds."""
        return (
            self._iterate(lambda: self._own.events(kinds)) if self._is_elsewhere else self._own.events(kinds)
        )

    async def start_turn(self, session_id: str, fields: dict[str, Any]) -> TurnEvents:
        """Start a turn and return its events."""
        turn = await self._call(partial(self._own.start_turn, session_id, fields))
        return _TurnElsewhere(turn, self) if self._is_elsewhere else turn

    async def cancel_turn(self, session_id: str, fields: dict[str, Any]) -> str:
        """Cancel a turn; returns `cancelled` or `idle`."""
        return await self._call(partial(self._own.cancel_turn, session_id, fields))

    async def respond(self, session_id: str, fields: dict[str, Any]) -> None:
        """Answer a question or a permission of a turn."""
        await self._call(partial(self._own.respond, session_id, fields))

    async def watch(self, session_id: str) -> None:
        """Receive the session's events; it is created if need be."""
        await self._call(partial(self._own.watch, session_id))

    async def unwatch(self, session_id: str) -> None:
        """Receive the session's events no longer."""
        await self._call(partial(self._own.unwatch, session_id))

    @property
    def _is_elsewhere(self) -> bool:
        return self._home.thread_id not in (0, threading.get_ident())

    async def _call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self._is_elsewhere:
            return await make()
        return await hand_over(make, self._home.loop)

    async def _iterate(
        self, make: Callable[[], AsyncIterator[EventEnvelope]]
    ) -> AsyncIterator[EventEnvelope]:
        """Iterate from here over what an iterator on the runtime's loop gives."""
        loop, ended = self._home.loop, object()
        turn = asyncio.Lock()  # a step that is cancelled may need a while, and no generator closes meanwhile

        async def begin() -> AsyncIterator[EventEnvelope]:
            return aiter(make())

        async def following() -> object:
            async with turn:
                return await anext(events, ended)

        async def end() -> None:
            if (aclose := getattr(events, "aclose", None)) is not None:
                async with turn:
                    await aclose()

        events = await hand_over(begin, loop)
        try:
            while (envelope := await hand_over(following, loop)) is not ended:
                yield cast(EventEnvelope, envelope)
        finally:
            await hand_over(end, loop)


class _TurnElsewhere:
    """The events of a turn, for another thread than the runtime's."""

    def __init__(self, turn: TurnEvents, connection: AnyLoop) -> None:
        self.turn_id = turn.turn_id
        self._turn = turn
        self._connection = connection

    def __aiter__(self) -> AsyncIterator[EventEnvelope]:
        return self._connection._iterate(lambda: aiter(self._turn))

    def close(self) -> None:
        """Receive no more of them."""
        with suppress(RuntimeError):  # that loop is closed
            self._connection._home.loop.call_soon_threadsafe(self._turn.close)


async def hand_over(make: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop) -> T:
    """Run a coroutine on another thread's loop and return its result; a cancellation here ends it there.

    Raises:
        RuntimeUnavailable: that loop is closed, or ends meanwhile; or it does not turn within 10 s, and then
            nothing has begun.
    """
    begun = threading.Lock()

    async def run() -> T:
        if not begun.acquire(blocking=False):
            raise asyncio.CancelledError
        return await make()

    coroutine = run()
    try:
        there = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()
        raise RuntimeUnavailable("the runtime of this client has ended") from None
    answer = asyncio.wrap_future(there)
    try:
        await asyncio.wait({answer}, timeout=BEGIN_SECONDS)
        if not answer.done() and begun.acquire(blocking=False):
            raise RuntimeUnavailable(
                f"the loop of the runtime has stood still for {BEGIN_SECONDS:g} s, so nothing was done; "
                "who waits for this thread there must not hold it: `await asyncio.to_thread(thread.join)`"
            )
        if not answer.done():
            await asyncio.wait({answer})
    finally:
        there.cancel()
    if answer.cancelled():  # there, as by the end of its loop: who calls this is not cancelled
        raise RuntimeUnavailable("the runtime of this client has ended, or has cancelled this call")
    return answer.result()
