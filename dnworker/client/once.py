"""`Once`: what `client.once(key)` returns, so that a handler does something once."""

from __future__ import annotations

import contextvars
import logging
from typing import TYPE_CHECKING

from dnworker.core.errors import UsageError
from dnworker.core.ids import new_id
from dnworker.core.keys import check_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from dnworker.client.connection import Connection

log = logging.getLogger("dnworker.client")

_inside: contextvars.ContextVar[frozenset[tuple[int, str]]] = contextvars.ContextVar(
    "dnworker_once", default=frozenset()
)
"""The clients and keys in whose body this runs."""


class Once:
    """Enters a body for a key: `async with client.once(key) as first`.

    `first` is False where a body of this key has ended well already. While another handler is in such a body,
    entering waits: when that one ends well it is False here, and when it raises or is gone it is True.

    Args:
        connection: the way to the runtime.
        start: waits until the runtime is ready.
        key: what is done once.

    Raises:
        Invalid: the key is none.
    """

    def __init__(self, connection: Connection, start: Callable[[], Awaitable[None]], key: str) -> None:
        self._connection = connection
        self._start = start
        self._key = check_key(key)
        self._claim: str | None = None
        self._outside: frozenset[tuple[int, str]] = frozenset()

    async def __aenter__(self) -> bool:
        self._outside, name = _inside.get(), (id(self._connection), self._key)
        if name in self._outside:
            raise UsageError(
                f"once({self._key!r}) within the body of once({self._key!r}) would wait for itself; "
                "use another key, or take one of them out",
                code="DN207",
            )
        await self._start()
        claim = new_id()
        try:
            is_first = await self._connection.begin_once(self._key, claim)
        except BaseException:
            await self._give_up(claim)  # it may have been granted, and the answer was not awaited
            raise
        if is_first:
            self._claim = claim
            _inside.set(self._outside | {name})
        return is_first

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        claim, self._claim = self._claim, None
        if claim is None:
            return
        _inside.set(self._outside)
        if kind is None:
            await self._connection.end_once(claim, done=True)
        else:
            await self._give_up(claim)

    async def _give_up(self, claim: str) -> None:
        """Let another handler enter; what fails here must not hide why."""
        try:
            await self._connection.end_once(claim, done=False)
        except Exception as exc:  # the runtime lets go of it when this process ends, or after some minutes
            log.debug("once(%r) was not given back: %s", self._key, exc)
