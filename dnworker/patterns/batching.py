"""`batch`: one run handles a list of events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Concatenate, TypeVar

from dnworker.core.errors import BadRule
from dnworker.patterns.groups import Group, Groups, Member
from dnworker.patterns.parts import (
    MOST,
    Key,
    P,
    R,
    check_key_function,
    check_number,
    key_of,
    no_arguments,
    ruled,
)

E = TypeVar("E")


def batch(
    *args: object, size: int, within: float, key: Key | None = None
) -> Callable[
    [Callable[Concatenate[list[E], P], Awaitable[R]]], Callable[Concatenate[E, P], Coroutine[Any, Any, R]]
]:
    """Handle events together, as a list: so many at once, or what has come some seconds after the first.

    The handler of each event ends with that of the list, and as it does: what it raises fails all of them.
    Lists of one key are handled one after another. When the worker stops, what waits is handled at once.

    Args:
        args: none; everything is given by name.
        size: the events of a full list, up to 10,000.
        within: seconds after the first event at which a list is handled that is not full.
        key: of an event what it counts for: a list has events of one key. By default it has all.

    Returns:
        A decorator for a handler that takes a list of events and the client, to be written below
        `@worker.on_event(...)`.

    Raises:
        BadRule, RuleMisplaced: a number is too small, or the decorator is used in another way.

    Examples:
        >>> from dnworker.patterns import batch
        >>> @worker.on_event("doc.changed")
        ... @batch(size=100, within=2)
        ... async def index(events, client):
        ...     print(f"index {[event.payload['doc'] for event in events]}")
        >>> managed = await runtime.add(worker)
        >>> for doc in "abc":
        ...     trace = await runtime.fire("doc.changed", {"doc": doc}, wait=False)
        >>> woken = await runtime.advance(2)
        index ['a', 'b', 'c']
    """
    no_arguments("batch", "batch(size=100, within=2)", args)
    check_number("batch", "size", size, 1, whole=True)
    if size > MOST:
        raise BadRule(f"batch(size={size}) is not possible; up to {MOST:,} events wait for a rule")
    check_number("batch", "within", within, 0)
    check_key_function("batch", key)
    rule = f"batch(size={size}, within={within!r}{', key=...' if key is not None else ''})"

    def due(group: Group) -> float:
        return group.first + within

    def decorate(
        handler: Callable[Concatenate[list[E], P], Awaitable[R]],
    ) -> Callable[Concatenate[E, P], Coroutine[Any, Any, R]]:
        async def run(members: Sequence[Member]) -> R:
            first = members[0]
            events = [member.event for member in members]
            return await handler(events, *first.args[1:], **first.fields)

        groups = Groups(rule, due, run, lambda members: members[0], size)

        async def call(*args: Any, **fields: Any) -> R:
            found: R = await groups.join(key_of("batch", key, args), Member(args, fields))
            return found

        return ruled(rule, handler, call, decorate, key)

    return decorate
