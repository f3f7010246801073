"""`debounce`: of events that follow each other closely, one is handled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Any

from dnworker.patterns.groups import Group, Groups, Member
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
    no_arguments,
    note_of,
    ruled,
    time_here,
)


def debounce(
    *args: object,
    seconds: float,
    key: Key | None = None,
    max_wait: float | None = None,
    leading: bool = False,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R | None]]]:
    """Handle the last of several events, once none has come for some seconds.

    The handlers of the others end with that of the last, and as it does. When the worker stops, what waits
    is handled at once.

    Args:
        args: none; everything is given by name.
        seconds: how long no event must have come.
        key: of an event what it counts for, such as `lambda e: e.session_id`; by default all count together.
        max_wait: seconds after the first event at which one is handled though more come.
        leading: handle the first at once, and leave out those that follow until none came for `seconds`,
            or until `max_wait` is over. If it fails, the next is handled.

    Returns:
        A decorator for a handler, to be written below `@worker.on_event(...)`.

    Raises:
        BadRule, RuleMisplaced: a number is too small, or the decorator is used in another way.

    Examples:
        >>> from dnworker.patterns import debounce
        >>> @worker.on_event("doc.changed")
        ... @debounce(seconds=5, key=lambda e: e.payload["doc"])
        ... async def build(event, client):
        ...     print(f"build {event.payload['doc']}")
        >>> managed = await runtime.add(worker)
        >>> for _ in range(3):
        ...     trace = await runtime.fire("doc.changed", {"doc": "a"}, wait=False)
        >>> woken = await runtime.advance(5)
        build a
    """
    no_arguments("debounce", "debounce(seconds=5)", args)
    check_number("debounce", "seconds", seconds, 0)
    if max_wait is not None:
        check_number("debounce", "max_wait", max_wait, 0)
    check_key_function("debounce", key)
    more = f", max_wait={max_wait!r}" if max_wait is not None else ""
    more += ", leading=True" if leading else ""
    rule = f"debounce(seconds={seconds!r}{', key=...' if key is not None else ''}{more})"

    def due(group: Group) -> float:
        quiet = group.last + seconds
        return quiet if max_wait is None else min(quiet, group.first + max_wait)

    def decorate(handler: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R | None]]:
        make = _Leading if leading else _Trailing
        debounced = make(rule, handler, due)

        async def call(*args: Any, **fields: Any) -> R | None:
            found: R | None = await debounced.take(key_of("debounce", key, args), Member(args, fields))
            return found

        return ruled(rule, handler, call, decorate, key)

    return decorate


class _Trailing:
    """Handles the last event."""

    def __init__(
        self, rule: str, handler: Callable[..., Awaitable[Any]], due: Callable[[Group], float]
    ) -> None:
        async def run(members: Sequence[Member]) -> Any:
            return await handler(*members[-1].args, **members[-1].fields)

        self._groups = Groups(rule, due, run, lambda members: members[-1])

    async def take(self, key: Hashable, member: Member) -> Any:
        """Handle an event by the rule."""
        return await self._groups.join(key, member)


class _Leading:
    """Handles the first event, and leaves out those that follow."""

    def __init__(
        self, rule: str, handler: Callable[..., Awaitable[Any]], due: Callable[[Group], float]
    ) -> None:
        async def run(members: Sequence[Member]) -> Any:
            return await handler(*members[0].args, **members[0].fields)

        self._rule = rule
        self._due = due
        self._groups = Groups(rule, due, run, lambda members: members[0], on_end=self._note_end)
        self._last: PerLoop[dict[Hashable, Group]] = PerLoop(dict)

    async def take(self, key: Hashable, member: Member) -> Any:
        """Handle an event by the rule: those that come while the first is handled end as it does."""
        last, now = self._last.here(), time_here().monotonic()
        group = last.get(key)
        if group is None or not (group.is_running or now < self._due(group)):
            group = last[key] = self._groups.begin_with(key, member)
            self._forget(last, now)
            return await self._groups.wait(group, member)
        group.last = now
        if not group.is_running:
            text = f"{self._rule} leaves it out: {group.led_by} was handled shortly before"
            log.info("%s", text)
            note_of(member.context, text)
            return None
        group.members.append(member)
        return await self._groups.wait(group, member)

    def _note_end(self, group: Group) -> None:
        group.members.clear()
        last = self._last.here()
        if group.failed and last.get(group.key) is group:
            del last[group.key]

    def _forget(self, last: dict[Hashable, Group], now: float) -> None:
        """Forget keys whose time is over, where there are many; then a tenth of them, the oldest."""
        if len(last) <= MOST:
            return
        for key in [key for key, group in last.items() if not group.is_running and now >= self._due(group)]:
            del last[key]
        while len(last) > MOST * 9 // 10:
            del last[next(iter(last))]
