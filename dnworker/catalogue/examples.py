"""`example_of`: a recorded payload as the catalogue shows it: short, and without secrets."""

from __future__ import annotations

from typing import Any

from dnworker.core.masking import MASK, is_secret
from dnworker.core.text import shorten

DEEPEST, MOST_KEYS, MOST_ITEMS, MOST_VALUES = 8, 50, 5, 300
LONGEST_TEXT, LONGEST_KEY = 200, 100


def example_of(payload: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with at most so many values, of which those named like secrets are hidden."""
    copied = _Copy().of(payload, 0)
    return copied if isinstance(copied, dict) else {}


class _Copy:
    """Copies one payload, as far as there is room."""

    def __init__(self) -> None:
        self._room = MOST_VALUES

    def of(self, value: Any, depth: int) -> Any:
        self._room -= 1
        if isinstance(value, str):
            return shorten(value, LONGEST_TEXT)
        if not isinstance(value, dict | list):
            return value
        if depth == DEEPEST or self._room <= 0:
            return "..."
        if isinstance(value, list):
            shown = [self.of(item, depth + 1) for item in value[:MOST_ITEMS]]
            return [*shown, f"... {len(value) - MOST_ITEMS:,} more"] if len(value) > MOST_ITEMS else shown
        copied: dict[str, Any] = {}
        for key, inner in value.items():
            if len(copied) >= MOST_KEYS or self._room <= 0:
                copied["..."] = f"{len(value) - len(copied):,} more"
                break
            hidden = is_secret(key) and inner is not None
            copied[shorten(key, LONGEST_KEY)] = MASK if hidden else self.of(inner, depth + 1)
        return copied
