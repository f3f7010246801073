"""`Context` and the ids of spans: which span is whose parent, by ids that every node derives alike."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN = re.compile(r"(?!0{16})[0-9a-f]{16}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


class Context(NamedTuple):
    """A span that is sent: the trace, 32 hexadecimal digits, and the span in it, 16."""

    trace_id: str
    span_id: str


def trace_of(event_id: str) -> str:
    """Return the id of the trace that an event begins: its own."""
    return event_id if _ID.fullmatch(event_id) else _digest(f"trace {event_id}", 16)


def sending(event_id: str) -> str:
    """Return the id of the span that sends an event, as all nodes know it."""
    own = event_id[16:]
    return own if len(event_id) == 32 and _SPAN.fullmatch(own) else span_of(f"send {event_id}")


def running(invocation_id: str) -> str:
    """Return the id of the span of an invocation: its own."""
    return invocation_id if _SPAN.fullmatch(invocation_id) else span_of(f"run {invocation_id}")


def span_of(text: str) -> str:
    """Return an id for a span that has none of its own."""
    return _digest(text, 8)


def read_parent(traceparent: str) -> tuple[Context, bool] | None:
    """Return the span that a W3C `traceparent` names, and whether it is sampled; None for other text."""
    match = _TRACEPARENT.fullmatch(traceparent) if len(traceparent) <= 256 else None
    return None if match is None else (Context(match[1], match[2]), bool(int(match[3], 16) & 1))


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
