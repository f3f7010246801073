"""Events as messages of the stream: what is in their headers, and how they are read again."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope, decode_stored, encode, size_of
from dnworker.core.errors import Invalid
from dnworker.core.hops import checked_via, via_here
from dnworker.core.invocation import read_traceparent, traceparent_here
from dnworker.events.brokers.kept.pages import Stored

BY, ONLY, HELD, CAUSE = "Dnw-By", "Dnw-Only", "Dnw-Held", "Dnw-Cause"
"""Headers: which publication of which runtime it is, for which worker alone, whether it was held back, and
the id of the invocation that published it."""

VIA = "Dnw-Via"
"""Header: the ids of the runtimes by which a copy of an event has come, as JSON."""

TRACEPARENT = "traceparent"
"""Header of W3C Trace Context: the invocation that published it, and the trace that goes on."""

MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"


class Read(NamedTuple):
    """An event of the stream."""

    envelope: EventEnvelope
    size: int
    only: str | None
    is_held: bool
    by: str
    """The publication that it is."""
    traceparent: str | None = None
    via: tuple[str, ...] = ()
    """The ids of the runtimes by which it has come, where it is a copy."""

    @property
    def stored(self) -> Stored:
        """Return it as consumers take it."""
        return Stored(self.envelope, self.size, self.only)


def write_event(
    envelope: EventEnvelope, by: str, only: str | None, is_held: bool, cause: str | None
) -> tuple[bytes, dict[str, str]]:
    """Return an event as data and headers."""
    headers = {BY: by}
    if only is not None:
        headers[ONLY] = quote(only)
    if is_held:
        headers[HELD] = "1"
    if cause is not None:
        headers[CAUSE] = quote(cause)
    if via := via_here():
        headers[VIA] = quote(msgspec.json.encode(via).decode())
    if (traceparent := traceparent_here()) is not None:
        headers[TRACEPARENT] = traceparent
    return encode(envelope), headers


def read_event(data: bytes, headers: dict[str, str], seq: int) -> Read:
    """Return an event of the stream under its number there.

    Raises:
        Invalid: it is none, whatever is wrong with it: anyone with the right to may write to the stream.
    """
    try:
        return _read(data, headers, seq)
    except Invalid:
        raise
    except Exception as exc:
        raise Invalid(f"it is no event ({type(exc).__name__})", code="DN211") from exc


def _read(data: bytes, headers: dict[str, str], seq: int) -> Read:
    envelope = replace(decode_stored(data), seq=seq)
    only, traceparent = headers.get(ONLY), headers.get(TRACEPARENT)
    return Read(
        envelope,
        size_of(envelope),
        None if only is None else unquote(only),
        HELD in headers,
        headers.get(BY, ""),
        traceparent if traceparent and read_traceparent(traceparent) is not None else None,
        checked_via(msgspec.json.decode(unquote(headers[VIA]))) if VIA in headers else (),
    )


def bytes_of(headers: dict[str, str]) -> int:
    """Return how many bytes headers are on the wire: all that is in ours is ASCII."""
    return 14 + sum([len(name) + len(value) + 4 for name, value in headers.items()])
