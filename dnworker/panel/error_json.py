"""The error of a call for the inspector: each exception with the user's frames and the lines around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dnworker.core.source import cell_number, lines_around, short_place, split_place
from dnworker.core.text import clip

if TYPE_CHECKING:
    from dnworker.core.frames import Frame
    from dnworker.core.handler_error import HandlerError

EXCEPTIONS_SHOWN = 6
FRAMES_SHOWN = 8
LONGEST_TEXT = 2_000
LONGEST_TRACEBACK = 8_000
"""Exceptions of one error, innermost frames of each, characters of a message, and of the whole as text."""


def error_to_json(error: HandlerError) -> dict[str, Any]:
    """Return an error: `chain` has what it came of first, as Python's tracebacks do, and itself last."""
    return {
        "type": error.type,
        "text": clip(error.text, LONGEST_TEXT),
        "chain": [*_chain(error)],
        "traceback": clip("\n".join(error.lines()), LONGEST_TRACEBACK),
        "place": place_to_json(error.place),
    }


def _chain(error: HandlerError) -> Iterator[dict[str, Any]]:
    found = [error]
    while len(found) < EXCEPTIONS_SHOWN and (before := found[-1].cause or found[-1].context) is not None:
        found.append(before)
    for number, one in enumerate(reversed(found)):
        link = "cause" if one.cause is not None else "context"
        yield {
            "text": clip(one.text, LONGEST_TEXT),
            "link": link if number else "",
            "notes": [clip(note, 500) for note in one.notes[:5]],
            "frames": [frame_to_json(frame) for frame in one.frames[-FRAMES_SHOWN:]],
            "hidden": one.hidden + max(0, len(one.frames) - FRAMES_SHOWN),
            "folded": [clip(text, 300) for text in (*_before(one), *one.after)][:5],
            "members": [clip(str(member), 500) for member in one.members[:5]],
        }


def _before(error: HandlerError) -> Iterator[str]:
    for frame in error.frames[-FRAMES_SHOWN:]:
        yield from frame.before


def frame_to_json(frame: Frame) -> dict[str, Any]:
    """Return a frame with the lines around the one that ran."""
    found = split_place(frame.place)
    return {
        "place": place_to_json(frame.place),
        "function": frame.function,
        "line": found[1] if found else None,
        "lines": lines_around(frame.place, frame.source),
        "locals": [*frame.locals],
    }


def place_to_json(place: str) -> dict[str, Any]:
    """Return a location: in words, short as a link says it, and the cell that it leads to."""
    return {"text": clip(place, 500), "label": short_place(place)[:80], "cell": cell_number(place)}
