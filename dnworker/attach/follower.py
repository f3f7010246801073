"""`Follower`: one stream of events of another runtime, resumed after each loss of the connection."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlencode

from dnworker.attach.catching_up import CAUGHT, is_continued, read_recorded, read_sessions
from dnworker.attach.cursor import Cursor
from dnworker.attach.facts import State
from dnworker.attach.handshake import Greeting, identity_of
from dnworker.client.event_stream import VIA
from dnworker.client.http import HttpConnection
from dnworker.client.unreachable import unreachable
from dnworker.core.envelope import SCHEMA_VERSION, SUBSCRIBER_DROPPED, EventEnvelope, decode
from dnworker.core.errors import Invalid, RuntimeUnavailable, UsageError
from dnworker.core.hops import via_of
from dnworker.core.text import shorten

log = logging.getLogger("dnworker.attach")

RETRY_FIRST, RETRY_LONGEST = 0.1, 5.0
"""Seconds of the first and the longest wait before the connection is opened again."""

NOTHING = "dnworker.attach.nothing"
"""A kind that nobody publishes: a stream without kinds would have all."""

KINDS_NAMED, LONGEST_QUERY = 300, 8_000
"""Kinds that a stream names, and characters of them; where there are more, it has all events."""

DRAIN_QUIET, DRAIN_LONGEST = 0.2, 5.0
"""Seconds without an event after which a stream that is replaced is closed, and the most that takes."""

SESSIONS_KEPT = 1_000
"""Sessions that are known to have had events."""

LATE = 2.0
"""Seconds for which the loop must have been held for a stream of the reference to count as lost.

It drops a subscriber that falls behind by 256 events, says nothing, and leaves its socket open.
"""


class Sink(Protocol):
    """What takes the events."""

    @property
    def kinds(self) -> frozenset[str] | None:
        """The kinds that are wanted now; None for all."""

    @property
    def has_room(self) -> bool:
        """Whether more events may wait for slow handlers."""

    async def room(self) -> None:
        """Return as soon as much less waits than may."""

    async def take(self, envelope: EventEnvelope, via: tuple[str, ...]) -> None:
        """Take the next event, and the ids of the runtimes by which it has come."""

    def miss(self, after_seq: int, before_seq: int | None, detail: str) -> None:
        """Note events that were missed and cannot be had."""


class Lost(Exception):
    """The stream has ended; the text says why."""


class Follower:
    """Follows one runtime until it is cancelled.

    Args:
        connection: to that runtime.
        greeting: what it has said of itself.
        sink: what takes the events.
        on_state: called when `state` has changed.
    """

    def __init__(
        self, connection: HttpConnection, greeting: Greeting, sink: Sink, on_state: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._sink = sink
        self._on_state = on_state
        self.state: State = "connecting"
        self.detail = ""
        # Where it is.
        self._greeting = greeting
        self._identity = greeting.identity
        self._cursor = Cursor(greeting.latest_seq, greeting.latest_id)
        self._was_connected = greeting.has_envelopes
        """Whether there is something to go on after: what a runtime has recorded, or an earlier stream."""
        self._sessions: OrderedDict[str, None] = OrderedDict()
        self._unsure: tuple[int, frozenset[int], str] | None = None
        """After a lost stream: the last event before, what was found since, and why there may be more."""
        # The stream.
        self._kinds: frozenset[str] | None = frozenset()
        self._changed = asyncio.Event()
        self._next: tuple[Any, frozenset[str] | None] | None = None
        self._frame_at = 0.0

    @property
    def kinds(self) -> frozenset[str] | None:
        """The kinds that are followed now; None for all."""
        return self._kinds

    def kinds_changed(self) -> None:
        """Note that other kinds are wanted."""
        self._changed.set()

    async def run(self) -> None:
        """Follow; ends by its cancellation only."""
        delay = RETRY_FIRST
        while True:
            try:
                await self._follow()
                delay = RETRY_FIRST
                continue
            except Lost as exc:
                self._to("lost", str(exc))
                delay = RETRY_FIRST if self._was_following else delay
            except Exception as exc:  # of websockets and httpx, or a frame that is no event
                self._to("lost", self._why(exc))
                log.info("the stream of %s: %r", self._connection.server_url, exc)
            self._was_following = False
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_LONGEST)

    _was_following = False

    def _to(self, state: State, detail: str) -> None:
        if (state, detail) != (self.state, self.detail):
            self.state, self.detail = state, detail
            self._on_state()

    def _why(self, exc: BaseException) -> str:
        from websockets.exceptions import InvalidStatus

        url = self._connection.server_url
        if isinstance(exc, InvalidStatus):
            status = exc.response.status_code
            hint = "; is the token still right?" if status in (401, 403) else ""
            return f"{url} refuses the event stream with {status}{hint}"
        if isinstance(exc, UsageError | RuntimeUnavailable | Invalid):
            return str(exc)
        return shorten(" ".join(str(unreachable(url, exc)).split()), 300)

    # -- one stream ------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Follow until the sink is full.

        Raises:
            Lost: the stream has ended; or what the attempt to open it raises.
        """
        await self._sink.room()
        if self._was_connected:
            await self._go_on()
        kinds = self._sink.kinds
        socket = await self._open(kinds)
        try:
            while True:
                self._kinds = kinds
                if self._greeting.has_envelopes:
                    await self._catch_up()
                self._cursor.switched()
                self._was_connected = self._was_following = True
                self._to("following", "")
                await self._read(socket)
                if self._next is None:
                    return
                await socket.close()
                (socket, kinds), self._next = self._next, None
        finally:
            following, self._next = self._next, None
            await socket.close()
            if following is not None:
                await following[0].close()

    async def _open(self, kinds: frozenset[str] | None) -> Any:
        named = [] if kinds is None else sorted(kinds) or [NOTHING]
        asked = [(VIA, "1")] if self._greeting.kind == "dnworker" else []
        query = urlencode([*[("kinds", kind) for kind in named], *asked])
        if len(named) > KINDS_NAMED or len(query) > LONGEST_QUERY:
            query = urlencode(asked)
        return await self._connection.open_socket(f"/api/ws/events?{query}".removesuffix("?"))

    async def _read(self, socket: Any) -> None:
        """Read a stream to its end; returns where another one follows it, or the sink is full."""
        from websockets.exceptions import ConnectionClosed

        helpers = [asyncio.create_task(self._watch_kinds(socket), name="kinds of an attachment")]
        if not self._greeting.has_envelopes:
            helpers.append(asyncio.create_task(self._watch_loop(socket), name="lag of an attachment"))
        loop = asyncio.get_running_loop()
        try:
            async for text in socket:
                self._frame_at = loop.time()
                envelope = _checked(decode(text))
                if envelope.kind == SUBSCRIBER_DROPPED:
                    return
                if envelope.seq:
                    await self._take(envelope, via_of(text))
                if not self._sink.has_room:
                    return
        except ConnectionClosed as exc:
            if self._next is None:
                raise Lost(f"{self._connection.server_url} has ended the event stream: {exc}") from exc
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)
        if self._next is None:
            raise Lost(f"{self._connection.server_url} has ended the event stream")

    async def _take(self, envelope: EventEnvelope, via: tuple[str, ...] = ()) -> None:
        if self._unsure is not None:
            self._note_unsure(envelope.seq)
        if not self._cursor.take(envelope):
            return
        if envelope.session_id is not None and not self._greeting.has_envelopes:
            self._sessions[envelope.session_id] = None
            self._sessions.move_to_end(envelope.session_id)
            if len(self._sessions) > SESSIONS_KEPT:
                self._sessions.popitem(last=False)
        own = self._identity.runtime_id
        await self._sink.take(envelope, via if own is None else (*via, own))

    async def _watch_kinds(self, socket: Any) -> None:
        """Open another stream beside this one where more kinds are wanted, then close this one."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            kinds = self._sink.kinds
            if self._kinds is None or (kinds is not None and kinds <= self._kinds):
                continue  # fewer: what comes in vain is left out
            try:
                self._next = await self._open(kinds), kinds
            except Exception as exc:
                log.info("no stream of more kinds: %r; it is opened anew", exc)
            else:
                self._cursor.switch()
                await self._drained()
            await socket.close()
            return

    async def _drained(self) -> None:
        """Return when the stream that is replaced seems to have nothing left."""
        loop = asyncio.get_running_loop()
        began = self._frame_at = loop.time()
        while True:
            left = min(self._frame_at + DRAIN_QUIET, began + DRAIN_LONGEST) - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def _watch_loop(self, socket: Any) -> None:
        """Close a stream for which the loop was held so long that the reference may have dropped it."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(LATE / 4)
            if loop.time() - before > LATE:
                await socket.close()
                return

    # -- going on after a loss -------------------------------------------------------------------------

    async def _go_on(self) -> None:
        """Take what was missed since the last event, as far as it is kept."""
        identity = await identity_of(self._connection)
        is_same, cursor = identity == self._identity, self._cursor
        if self._greeting.has_envelopes and cursor.last and (cursor.last_id is not None or is_same):
            is_same = await is_continued(self._connection, cursor.last, cursor.last_id)
        self._identity = identity
        if not is_same:
            self._sink.miss(cursor.last, None, "it was started anew; what it published before is lost")
            cursor.begin_anew()
            self._sessions.clear()
        if self._greeting.has_envelopes:
            await self._catch_up()
        elif is_same:
            await self._catch_up_sessions()

    async def _catch_up(self) -> None:
        """Take what a runtime of ours has recorded since."""
        after, kinds = self._cursor.resume, self._sink.kinds
        async for page in read_recorded(self._connection, after, kinds):
            first = page.envelopes[0].seq if page.envelopes else None
            if page.has_gap:
                before = page.latest_seq + 1 if first is None else first
                self._sink.miss(after, before, "that runtime keeps these events no more")
            for envelope in page.envelopes:
                if kinds is not None and envelope.kind not in kinds:
                    continue
                if envelope.seq in page.without_payload:
                    if self._cursor.take(envelope):
                        detail = f"that runtime keeps the payload of this {envelope.kind} no more"
                        self._sink.miss(envelope.seq - 1, envelope.seq + 1, detail)
                    continue
                if not self._sink.has_room:
                    await self._sink.room()
                await self._take(_checked(envelope), page.via.get(envelope.seq, ()))
            after = page.envelopes[-1].seq if page.envelopes else after

    async def _catch_up_sessions(self) -> None:
        """Take what the reference still has in the buffers of known sessions."""
        last, found, lacking = self._cursor.last, list[EventEnvelope](), list[str]()
        why = "that runtime keeps no events outside of sessions"
        try:
            found, lacking = await read_sessions(self._connection, [*self._sessions], last)
        except CAUGHT as exc:
            why = f"the buffers of its sessions could not be read: {self._why(exc)}"
        self._unsure = last, frozenset(one.seq for one in found), "; ".join([why, *lacking])
        unsure, self._unsure = self._unsure, None
        wanted = self._sink.kinds
        for envelope in found:
            if wanted is None or envelope.kind in wanted:
                await self._take(_checked(envelope))
        self._unsure = unsure

    def _note_unsure(self, seq: int) -> None:
        """Note a gap unless the next event shows that there was none."""
        if self._unsure is None:
            return
        (last, found, why), self._unsure = self._unsure, None
        if missed := sum(1 for _ in range(last + 1, min(seq, last + 1_000_000)) if _ not in found):
            events = "an event" if missed == 1 else f"up to {missed:,} events"
            self._sink.miss(last, seq, f"{events} may have been missed: {why}")


def _checked(envelope: EventEnvelope) -> EventEnvelope:
    if envelope.schema_version != SCHEMA_VERSION:
        raise UsageError(
            f"that runtime sends events of version {envelope.schema_version}, and this dnworker reads "
            f"version {SCHEMA_VERSION}",
            code="DN941",
        )
    return envelope
