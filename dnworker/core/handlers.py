"""`HandlerKey`, the identity of a handler; used wherever handlers are counted, listed or compared."""

from __future__ import annotations

import re
import weakref
from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

from dnworker.core.errors import BadName

DECORATORS = frozenset({"on_startup", "on_shutdown", "on_event", "every", "task"})
"""The decorators of a `Worker` (contract 1.2)."""


registered: weakref.WeakSet[Any] = weakref.WeakSet()
"""The functions that decorators of a worker were given: what is put around them later has no effect."""

first_kinds: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
"""Of functions that listen to events, without the rules on them: the kind of their first registration."""

_WORKER_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class HandlerKey(NamedTuple):
    """The identity of a handler within its worker."""

    decorator: str
    """One of `DECORATORS`."""
    trigger: str
    """The kind or the schedule's label; empty where there is none."""
    name: str
    """The function's name; the second handler of the same name, decorator and trigger is `name#2`."""

    def apart_from(self, taken: Container[HandlerKey]) -> HandlerKey:
        """Return this key, or the first with a number that is not among those that are taken."""
        key, count = self, 2
        while key in taken:
            key, count = self._replace(name=f"{self.name}#{count}"), count + 1
        return key


def numbered(keys: Iterable[HandlerKey]) -> Iterator[HandlerKey]:
    """Yield the keys; one that comes again gets a number, so that every handler has a key of its own."""
    taken: set[HandlerKey] = set()
    for key in keys:
        taken.add(own := key.apart_from(taken))
        yield own


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
