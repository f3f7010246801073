"""Hides values whose names say that they are secret: of arguments in transcripts, of variables in errors."""

from __future__ import annotations

import re
from typing import Any

_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|api[_-]?key|credential|authorization|private[_-]?key", re.I
)
MASK = "***"


def is_secret(name: str) -> bool:
    """Return whether the value of something of this name is not to be shown."""
    return _SECRET.search(name) is not None


def mask(arguments: Any) -> Any:
    """Return arguments with the values of credential-like keys hidden (contract 5.2)."""
    if isinstance(arguments, dict):
        return {k: MASK if is_secret(str(k)) else mask(v) for k, v in arguments.items()}
    return [mask(item) for item in arguments] if isinstance(arguments, list) else arguments
