"""`HandlerKey`, the identity of a handler; used wherever handlers are counted, listed or compared."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from dnworker.core.errors import BadName

DECORATORS = frozenset({"on_startup", "on_shutdown", "on_event", "every", "task"})
"""The decorators of a `Worker` (contract 1.2)."""


_WORKER_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


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


def check_worker_name(name: str) -> str:
    """Return `name` if it follows the rule of contract 1.1.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(name, str) or not _WORKER_NAME.fullmatch(name):
        raise BadName(
            f"worker name {name!r} is not allowed; use lower-case letters, digits and dashes, "
            "starting with a letter or digit"
        )
    return name
