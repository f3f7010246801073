"""`HandlerKey`, the identity of a handler; used wherever handlers are counted, listed or compared."""

from __future__ import annotations

from typing import Any, NamedTuple

DECORATORS = frozenset({"on_startup", "on_shutdown", "on_event", "every", "task"})
"""The decorators of a `Worker` (contract 1.2)."""


class HandlerKey(NamedTuple):
    """The identity of a handler within its worker."""

    decorator: str
    """One of `DECORATORS`."""
    trigger: str
    """The kind or the schedule's label; empty where there is none."""
    name: str
    """The function's name."""


def handler_name(handler: Any) -> str:
    """Return the name by which a handler is shown."""
    return str(getattr(handler, "__name__", None) or type(handler).__name__)
