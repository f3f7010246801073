"""`Pull`: reads recorded events of a runtime, ours or the SDK's, page by page; for copies."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
import msgspec

from dnworker.client.buffers import buffered_events
from dnworker.client.http import HttpConnection
from dnworker.client.tokens import way_to_token
from dnworker.client.unreachable import unreachable
from dnworker.core.envelope import EventEnvelope, check_kind, decode_stored, is_noise
from dnworker.core.errors import Invalid, RuntimeUnavailable, UsageError
from dnworker.core.moments import parse_moment
from dnworker.core.payload_masks import PayloadMasks
from dnworker.core.text import shorten

PAGE = 1_000
"""Events of one request at most."""

ANSWER_BYTES = 64_000_000
"""Bytes that one answer has at most: a page has 4 MB, and one event more."""

ANSWER_SECONDS = 60.0
"""Seconds for one page."""

PULL_BYTES = 256 * 1024 * 1024
"""Bytes of all events of one pull."""

PULL_EVENTS = 1_000_000
PULL_DEFAULT = 100
SINCE_DEFAULT = 10_000
"""Events of one pull at most, and where nobody says how many: with a time, and without one."""

PAUSE_EVERY = 100
"""Events after which others get the loop."""


class PullQuery(NamedTuple):
    """Which events are pulled; `since` is as people type it."""

    last: int | None = None
    kinds: tuple[str, ...] = ()
    since: str | None = None
    session: str | None = None
    noise: bool = False

    @property
    def most(self) -> int:
        """How many are pulled at most: the newest of them."""
        if self.last is not None:
            return self.last
        return PULL_DEFAULT if self.since is None else SINCE_DEFAULT

    def check(self, code: str) -> None:
        """Check what a user has given.

        Raises:
            UsageError: it is no number of events, or no time.
        """
        if self.last is not None and self.last < 1:
            raise UsageError(f"--last {self.last}: pull at least one", code=code)
        if self.most > PULL_EVENTS:
            raise UsageError(f"--last {self.last:,}: at most {PULL_EVENTS:,} are pulled at once", code=code)
        if self.since is not None:
            try:
                parse_moment(self.since, datetime.now(UTC), "--since")
            except Invalid as exc:
                raise UsageError(str(exc), code="DN912") from None


class PulledEvent(NamedTuple):
    """An event, and whether a handler has published it there."""

    event: EventEnvelope
    is_caused: bool


class _Page(msgspec.Struct):
    runtime_id: str
    envelopes: list[msgspec.Raw]
    next: str | None
    gap: bool


class _Marks(msgspec.Struct):
    payload_dropped: bool = False
    caused: bool = False


_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
"""An event's id: it is shown, and typed."""

LONGEST_DETAIL = 300
"""Characters of what another program answers that are shown."""

_pages = msgspec.json.Decoder(_Page)
_marks = msgspec.json.Decoder(_Marks)


class Pull:
    """One reading of recorded events, the oldest first; iterate over it once.

    Args:
        connection: to the runtime.
        query: which events.
    """

    def __init__(self, connection: HttpConnection, query: PullQuery) -> None:
        self._connection = connection
        self._query = query
        self._bytes = 0
        # What is known of the runtime once the first event has come.
        self.runtime_id = ""
        self.is_reference = False
        # What was read, and what could not be.
        self.count = 0
        self.dropped = 0
        """Events whose payload is not kept there any more; they are left out."""
        self.is_cut = False
        """Whether there may be older events that are as asked for, and nobody said how many are wanted."""
        self.has_gap = False
        """Whether the runtime says that it has not all of the events any more."""

    @property
    def url(self) -> str:
        """Where the runtime is."""
        return self._connection.server_url

    async def events(self) -> AsyncIterator[PulledEvent]:
        """Iterate over the events.

        Raises:
            RuntimeUnavailable: it cannot be reached, went away, refuses the token, or answers something else.
            UsageError: the events have too many bytes for one pull.
        """
        try:
            async for one in self._read():
                self._bytes += len(msgspec.json.encode(one.event))
                if self._bytes > PULL_BYTES:
                    raise UsageError(
                        f"the events have over {PULL_BYTES // 1024 // 1024} MB; "
                        "pull fewer, by --last or --kind",
                        code="DN224",
                    )
                self.count += 1
                yield one
            self.is_cut = self._query.last is None and self.count + self.dropped >= self._query.most
        except TimeoutError as exc:
            raise self._gone(f"does not answer within {ANSWER_SECONDS:g} s") from exc
        except httpx.HTTPStatusError as exc:
            raise self._refused(exc) from exc
        except httpx.TransportError as exc:
            raise self._lost(exc) from exc

    async def _read(self) -> AsyncIterator[PulledEvent]:
        query: dict[str, Any] = {"limit": min(PAGE, self._query.most), "last": self._query.most}
        query |= {"kind": [*self._query.kinds]} if self._query.kinds else {}
        query |= {"since": self._query.since} if self._query.since is not None else {}
        query |= {"session": self._query.session} if self._query.session is not None else {}
        query["noise"] = str(self._query.noise).lower()
        try:
            page = await self._page(query)
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code not in (404, 405):
                raise
            async for found in self._of_buffers():
                yield found
            return
        self.runtime_id = page.runtime_id
        while True:
            self.has_gap = self.has_gap or page.gap
            for frame in page.envelopes:
                if (one := self._one(frame)) is not None:
                    yield one
            if page.next is None:
                return
            page = await self._page({**query, "cursor": page.next})

    async def _page(self, query: dict[str, Any]) -> _Page:
        answer = await self._connection.read(
            "/api/history/envelopes", query, most=ANSWER_BYTES, seconds=ANSWER_SECONDS
        )
        try:
            page = _pages.decode(answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise self._gone("answers no page of events; is a runtime of another version there?") from exc
        if self.runtime_id not in ("", page.runtime_id):
            raise self._gone("was restarted while its events were read; pull again")
        return page

    def _one(self, frame: msgspec.Raw) -> PulledEvent | None:
        """Return an event of a page; None where its payload is lost."""
        try:
            marks = _marks.decode(frame)
            if marks.payload_dropped:
                self.dropped += 1
                return None
            event = in_utc(decode_stored(bytes(frame)))
            check_kind(event.kind)
            if _ID.fullmatch(event.event_id) is None:
                raise Invalid(f"event_id {shorten(event.event_id, 40)!r} is none", code="DN224")
            return PulledEvent(event, marks.caused)
        except (msgspec.MsgspecError, Invalid, UnicodeDecodeError, RecursionError, ValueError) as exc:
            raise self._gone("answers what is no event; is a runtime of another version there?") from exc

    async def _of_buffers(self) -> AsyncIterator[PulledEvent]:
        """Read what the SDK's runtime has: the events that it keeps for the sockets of each session."""
        answer = await self._connection.read("/api/runtime", {}, most=ANSWER_BYTES, seconds=ANSWER_SECONDS)
        try:
            info = msgspec.json.decode(answer, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise self._gone("is no runtime: it answers no JSON") from exc
        self.is_reference, self.has_gap = True, True
        self.runtime_id = str(info.get("runtime_id") or self.url)
        since = None
        if self._query.since is not None:
            since = parse_moment(self._query.since, datetime.now(UTC), "--since")
        found = [
            event
            for event in map(in_utc, await buffered_events(self._connection, self._query.session))
            if self._takes(event, since)
        ]
        found.sort(key=lambda event: event.seq)
        for event in found[-self._query.most :]:
            yield PulledEvent(event, is_caused=False)

    def _takes(self, event: EventEnvelope, since: datetime | None) -> bool:
        kinds = self._query.kinds
        is_of_kind = any(
            event.kind.startswith(kind[:-1]) if kind.endswith("*") else event.kind == kind for kind in kinds
        )
        is_quiet = (event.kind == "turn.event" or is_noise(event.kind)) and not self._query.noise
        return (is_of_kind if kinds else not is_quiet) and (since is None or event.timestamp >= since)

    # -- what goes wrong -------------------------------------------------------------------------------

    def _gone(self, what: str) -> RuntimeUnavailable:
        return RuntimeUnavailable(f"{self.url} {what}{self._so()}", code="DN224")

    def _lost(self, exc: httpx.TransportError) -> RuntimeUnavailable:
        if not self.count:
            return unreachable(self.url, exc)
        return self._gone(f"went away while its events were read ({exc or type(exc).__name__}); pull again")

    def _refused(self, exc: httpx.HTTPStatusError) -> RuntimeUnavailable:
        status = exc.response.status_code
        if status == 401:
            refused = f"{self.url} refuses the token: name its file with --token-file FILE"
            text = refused if self._connection.token else way_to_token(self.url)
            return RuntimeUnavailable(text, code="DN904")
        if status == 403:
            return RuntimeUnavailable(
                f"{self.url}: the token may not read events: {_line(exc)}", code="DN905"
            )
        if status == 409:
            return self._gone("was restarted while its events were read; pull again")
        return self._gone(f"does not give its events: {_line(exc)}")

    def _so(self) -> str:
        return f"; the {self.count:,} that had come are not kept" if self.count else ""


def _line(exc: Exception) -> str:
    """Return what another program has said, on one line of bounded length."""
    return shorten(" ".join(str(exc).split()), LONGEST_DETAIL)


def in_utc(event: EventEnvelope) -> EventEnvelope:
    """Return an event with its time in UTC; a time without a zone is in UTC."""
    at = event.timestamp
    if at.tzinfo is UTC:
        return event
    try:
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:  # year 1 or 9999
        at = at.replace(tzinfo=UTC)
    return msgspec.structs.replace(event, timestamp=at)


async def masked_events(pull: Pull, masks: PayloadMasks) -> AsyncIterator[PulledEvent]:
    """Iterate over the events of a pull, masked; at the end it is checked that each mask hides something.

    Raises:
        RuntimeUnavailable, UsageError: as `Pull.events` and `PayloadMasks.check`.
    """
    async for one in pull.events():
        if pull.count % PAUSE_EVERY == 0:
            await asyncio.sleep(0)  # masks take time, and handlers run on this loop
        yield one._replace(event=masked(one.event, masks))
    masks.check()


def masked(event: EventEnvelope, masks: PayloadMasks) -> EventEnvelope:
    """Return an event with its payload masked; it holds that as JSON.

    Raises:
        UsageError: the payload is nested too deep.
    """
    payload: Any = msgspec.Raw(msgspec.json.encode(masks.apply(event.payload)))
    return msgspec.structs.replace(event, payload=payload)
