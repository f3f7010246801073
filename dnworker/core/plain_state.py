"""`PlainState`: the JSON of a `worker.state`, and what of it has no JSON; for states that are kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from dnworker.core.text import is_valid_text

LARGEST_STATE = 1_000_000
"""Bytes of JSON of a state that is kept."""

DEEPEST = 200
"""Levels of lists and dicts in a state that is kept: what is written must be read again on any stack."""

_LEAVES = frozenset({str, int, float, bool, type(None)})


class PlainState:
    """Writes a state as JSON, and knows what of the last one had none."""

    def __init__(self) -> None:
        self._written: dict[str, bytes] = {}
        self.left_out: list[str] = []
        """The keys of the last state that are too deep, or have no JSON that gives the same value back."""

    def write(self, state: Mapping[Any, Any]) -> bytes:
        """Return the JSON of what has one: text, numbers, booleans, None, lists and dicts of these."""
        written: dict[str, bytes] = {}
        self.left_out = []
        for key, value in [*state.items()]:
            text = _text(value) if type(key) is str and is_valid_text(key) else None
            if text is None:
                self.left_out.append(key if type(key) is str else repr(key))
            else:
                written[key] = text
        self._written = written
        pairs = (msgspec.json.encode(key) + b":" + text for key, text in written.items())
        return b"{" + b",".join(pairs) + b"}"

    def largest(self) -> list[str]:
        """Return the keys of the last state that take most, with their bytes."""
        sizes = sorted(((len(text), key) for key, text in self._written.items()), reverse=True)
        return [f"{key!r} {size:,}" for size, key in sizes[:3]]


def _text(value: object) -> bytes | None:
    try:
        text = msgspec.json.encode(value)  # first: it is fast, and what is too large need not be looked at
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None
    return None if len(text) <= LARGEST_STATE and not _is_plain(value) else text


def read_state(data: bytes) -> dict[str, Any]:
    """Return the state of its JSON.

    Raises:
        msgspec.MsgspecError, RecursionError: it is no JSON object, or nested too deep.
    """
    state = msgspec.json.decode(data, type=dict[str, Any])
    for key, value in state.items():
        if not _is_plain(value):
            raise msgspec.ValidationError(f"{key!r} is nested over {DEEPEST} deep")
    return state


def _is_plain(value: object) -> bool:
    """Return whether JSON gives the same value back, of the same types, and it is not nested too deep."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        below: list[object] = []
        for one in level:
            kind = type(one)
            if kind is list:
                below.extend(one)  # type: ignore[arg-type]
            elif kind is dict:
                if any(type(key) is not str for key in one):  # type: ignore[attr-defined]
                    return False
                below.extend(one.values())  # type: ignore[attr-defined]
            elif kind not in _LEAVES or (kind is float and not math.isfinite(one)):  # type: ignore[arg-type]
                return False
        level, depth = below, depth + 1
    return not level
