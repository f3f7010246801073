"""`Watches`: who is told that values of a key-value store change; for brokers that write them here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("dnworker.broker")


class Watches:
    """Functions that are called once, on the loop, after the changes of one turn of it."""

    def __init__(self) -> None:
        self._watches: dict[object, tuple[str, Callable[[], None]]] = {}
        self._due: set[object] = set()

    def add(self, prefix: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` soon after values change whose keys begin so; returns the function that ends it."""
        name = object()
        self._watches[name] = prefix, changed

        def end() -> None:
            self._watches.pop(name, None)

        return end

    def note(self, key: str) -> None:
        """Note that a value has changed, or is gone."""
        for name, (prefix, _) in self._watches.items():
            if name not in self._due and key.startswith(prefix):
                self._due.add(name)
                asyncio.get_running_loop().call_soon(self._call, name)

    def _call(self, name: object) -> None:
        self._due.discard(name)
        if (watch := self._watches.get(name)) is None:
            return
        try:
            watch[1]()
        except Exception:
            log.exception("what watches the keys of %s has failed", watch[0])
