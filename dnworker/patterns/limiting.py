"""`limit`: so many runs of a handler at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any

from dnworker.core.errors import RuleFull
from dnworker.patterns.parts import (
    MOST,
    Key,
    P,
    PerLoop,
    R,
    check_key_function,
    check_number,
    key_of,
    log,
    name_of,
    no_arguments,
    ruled,
)


class _Slots:
    """The runs of one key."""

    def __init__(self, at_once: int) -> None:
        self.free = asyncio.Semaphore(at_once)
        self.users = 0
        """Events that run, or wait for others."""


class _Limit:
    """The keys of one event loop."""

    def __init__(self) -> None:
        self.slots: dict[Hashable, _Slots] = {}
        self.waiting = 0


def limit(
    *args: object, at_once: int, key: Key | None = None
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Run so many handlers at once, and let the events of others wait in their order.

    Args:
        args: none; everything is given by name.
        at_once: how many run at once, for each key.
        key: of an event what it counts for, such as `lambda e: e.session_id`; by default all count together.

    Returns:
        A decorator for a handler, to be written below `@worker.on_event(...)`. Its handler raises `RuleFull`
        for an event for which 10,000 others wait already.

    Raises:
        BadRule, RuleMisplaced: a number is too small, or the decorator is used in another way.

    Examples:
        >>> from dnworker.patterns import limit
        >>> @worker.on_event("page.wanted")
        ... @limit(at_once=1)
        ... async def fetch(event, client):
        ...     await sleep(2)
        ...     print(f"{runtime.clock.now():%M:%S} {event.payload['page']}")
        >>> managed = await runtime.add(worker)
        >>> for page in "ab":
        ...     trace = await runtime.fire("page.wanted", {"page": page}, wait=False)
        >>> woken = await runtime.advance(5)
        00:02 a
        00:04 b
    """
    no_arguments("limit", "limit(at_once=2)", args)
    check_number("limit", "at_once", at_once, 1, whole=True)
    check_key_function("limit", key)
    rule = f"limit(at_once={at_once}{', key=...' if key is not None else ''})"

    def decorate(handler: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        state = PerLoop(_Limit)

        async def call(*args: Any, **fields: Any) -> R:
            name = key_of("limit", key, args)
            here = state.here()
            slots = here.slots.setdefault(name, _Slots(at_once))
            slots.users += 1
            try:
                await _enter(rule, here, slots, args)
                try:
                    return await handler(*args, **fields)
                finally:
                    slots.free.release()
            finally:
                slots.users -= 1
                if not slots.users:
                    del here.slots[name]

        return ruled(rule, handler, call, decorate, key)

    return decorate


async def _enter(rule: str, here: _Limit, slots: _Slots, args: tuple[Any, ...]) -> None:
    """Wait until a run may begin."""
    if slots.free.locked() and here.waiting >= MOST:
        raise RuleFull(
            f"{rule}: {MOST:,} events wait already; raise at_once, make the handler faster, or have it tried "
            "again later by --retry"
        )
    here.waiting += 1
    try:
        await slots.free.acquire()
    except asyncio.CancelledError:
        log.warning(
            "%s: %s is not handled: it was ended while it waited", rule, name_of(args[0] if args else None)
        )
        raise
    finally:
        here.waiting -= 1
