"""Payloads as JSON text for the panel: a browser would round their numbers. Large ones come in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.envelope import bytes_of_payload, has_payload
from dnworker.core.json_rows import masked
from dnworker.core.text import shorten

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.side_threads import SideThreads

SENT_AT_ONCE = 16_000
"""Characters of a payload that come with its event; a larger one is requested."""

PIECE = 150_000
"""Characters of one answer."""

LARGE = 40_000
"""Bytes from which on a payload is made text on a thread."""

LONGEST_SHORT = 160
_PARSED_FOR_SHORT = 20_000  # bytes: of a larger one, its size is said


async def text_of(event: EventEnvelope, side_threads: SideThreads) -> str:
    """Return a payload with a line for each part."""
    if bytes_of_payload(event) < LARGE:
        return _text(event)
    return await side_threads.run(_text, event)


def _text(event: EventEnvelope) -> str:
    return msgspec.json.format(msgspec.json.encode(event.payload), indent=2).decode()


async def head_of(event: EventEnvelope, side_threads: SideThreads) -> dict[str, Any]:
    """Return a payload whole if it is small; else its size alone, `text` None."""
    if bytes_of_payload(event) > SENT_AT_ONCE:
        return {"text": None, "size": bytes_of_payload(event)}
    text = await text_of(event, side_threads)
    return {"text": text if len(text) <= 3 * SENT_AT_ONCE else None, "size": len(text)}


async def piece_of(event: EventEnvelope, start: int, side_threads: SideThreads) -> dict[str, Any]:
    """Return a piece of a payload from a character on; `next` is where the rest begins, None at the end."""
    text = await text_of(event, side_threads)
    end = start + PIECE
    return {"text": text[start:end], "next": end if end < len(text) else None, "size": len(text)}


def short_payload(event: EventEnvelope) -> str:
    """Return a payload on one line, cut; names that say secret hide their values."""
    if not has_payload(event):
        return "(the payload is not kept any more)"
    size = bytes_of_payload(event)
    if size > _PARSED_FOR_SHORT:
        return f"({size:,} bytes)"
    return shorten(msgspec.json.encode(masked(event.payload)).decode(), LONGEST_SHORT)
