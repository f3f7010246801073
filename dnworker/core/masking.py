"""Tells by a name whether its value is a secret, and not shown; used wherever values are shown."""

from __future__ import annotations

import re

MASK = "***"
"""Stands for a value that is not shown."""

_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|api[_-]?key|credential|authorization|private[_-]?key", re.I
)


def is_secret(name: str) -> bool:
    """Return whether a key, an attribute or an argument of this name holds a credential (contract 5.2)."""
    return _SECRET.search(name) is not None


def hides(name: str, value: object) -> bool:
    """Return whether a value of this name is not shown; a number of tokens is no secret, nor is None."""
    kind = type(value)
    if kind is type(None) or kind is bool:
        return False
    if (kind is int or kind is float) and name.lower().endswith("tokens"):
        return False
    return is_secret(name)
