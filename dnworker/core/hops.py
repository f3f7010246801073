"""By which runtimes a copy of an event has come, so that none gets its own back in a ring.

`published_via` says it where the copy is published; brokers and journals keep it with the event.
"""

from __future__ import annotations

import msgspec

from dnworker.core.invocation import current_invocation, published_via


def via_here() -> tuple[str, ...]:
    """Return by which runtimes an event has come that is published here; none of a handler's own."""
    return published_via.get() if current_invocation.get() is None else ()


MOST_HOPS = 32
"""Runtimes by which an event comes at most; one that has come by more goes no further."""

LONGEST_ID = 128
"""Characters of the id of a runtime."""


class _Marks(msgspec.Struct):
    via: list[str] = []


_decoder = msgspec.json.Decoder(_Marks)


def via_of(frame: str | bytes) -> tuple[str, ...]:
    """Return the ids of the runtimes that a frame of a stream names, the first one first; none for most."""
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
    if '"via":' not in text:  # which is fast, and true of a copy, or of a payload with such a field
        return ()
    try:
        return checked_via(_decoder.decode(text).via)
    except msgspec.MsgspecError:  # a field of another program
        return ()


def checked_via(found: object) -> tuple[str, ...]:
    """Return the ids of runtimes that another one has named, bounded in number and length."""
    if not isinstance(found, list):
        return ()
    return tuple(one[:LONGEST_ID] for one in found[:MOST_HOPS] if isinstance(one, str))
