"""`throttle`: so many runs of a handler in a time."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Literal

from dnworker.core.errors import BadRule, RuleFull
from dnworker.patterns.parts import (
    KEYS,
    MOST,
    ROUNDING,
    Key,
    P,
    PerLoop,
    R,
    check_key_function,
    check_number,
    is_power_of_ten,
    key_of,
    log,
    name_of,
    no_arguments,
    note_of,
    ruled,
    time_here,
)


class _Pace:
    """When the next run of each key may begin, in one event loop."""

    def __init__(self) -> None:
        self.next: dict[Hashable, float] = {}
        """The second at which a key has all of its burst again."""
        self.look_at = MOST
        """With how many keys it is looked for those that can be forgotten."""
        self.waiting = 0
        self.dropped = 0


def throttle(
    *args: object,
    rate: int,
    per: float,
    burst: int = 1,
    key: Key | None = None,
    else_: Literal["wait", "drop"] = "wait",
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R | None]]]:
    """Begin so many runs in so many seconds, evenly: one each `per / rate` seconds.

    Args:
        args: none; everything is given by name.
        rate: how many runs begin in `per` seconds, for each key.
        per: seconds.
        burst: how many may begin at once after a time without any.
        key: of an event what it counts for, such as `lambda e: e.session_id`; by default all count together.
        else_: what becomes of an event that comes too early: it waits for its turn, or is left out ("drop"),
            which is logged.

    Returns:
        A decorator for a handler, to be written below `@worker.on_event(...)`. Its handler raises `RuleFull`
        for an event for which 10,000 others wait already.

    Raises:
        BadRule, RuleMisplaced: a number is too small, or the decorator is used in another way.

    Examples:
        >>> from dnworker.patterns import throttle
        >>> @worker.on_event("page.wanted")
        ... @throttle(rate=30, per=60)
        ... async def fetch(event, client):
        ...     print(f"{runtime.clock.now():%M:%S} {event.payload['page']}")
        >>> managed = await runtime.add(worker)
        >>> for page in "ab":
        ...     trace = await runtime.fire("page.wanted", {"page": page}, wait=False)
        >>> woken = await runtime.advance(5)
        00:00 a
        00:02 b
    """
    no_arguments("throttle", "throttle(rate=10, per=60)", args)
    check_number("throttle", "rate", rate, 1, whole=True)
    check_number("throttle", "per", per, 0)
    check_number("throttle", "burst", burst, 1, whole=True)
    check_key_function("throttle", key)
    if else_ not in ("wait", "drop"):
        raise BadRule(f"throttle(else_={else_!r:.60}) is not possible; else_ is 'wait' or 'drop'")
    named = "".join([f", burst={burst}" * (burst > 1), ", key=..." * (key is not None)])
    rule = f"throttle(rate={rate}, per={per!r}{named}{', else_=' + repr(else_) if else_ == 'drop' else ''})"

    def decorate(handler: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R | None]]:
        throttled = _Throttled(rule, per / rate, burst, key, drops=else_ == "drop")

        async def call(*args: Any, **fields: Any) -> R | None:
            return await handler(*args, **fields) if await throttled.enter(args) else None

        return ruled(rule, handler, call, decorate, key)

    return decorate


class _Throttled:
    """Lets events in evenly: the generic cell rate algorithm, by key."""

    def __init__(self, rule: str, step: float, burst: int, key: Key | None, *, drops: bool) -> None:
        self._rule = rule
        self._step = step
        self._burst = burst
        self._key = key
        self._drops = drops
        self._state = PerLoop(_Pace)

    async def enter(self, args: tuple[Any, ...]) -> bool:
        """Return True when an event may be handled; False where it is left out.

        Raises:
            RuleFull: too many wait already.
        """
        pace, now, name = self._state.here(), time_here().monotonic(), key_of("throttle", self._key, args)
        event = name_of(args[0] if args else None)
        full = max(now, pace.next.get(name, now))
        wait = full - (self._burst - 1) * self._step - now
        if wait > ROUNDING and self._drops:
            _note_dropped(self._rule, pace, event)
            return False
        if wait > ROUNDING and pace.waiting >= MOST:
            raise RuleFull(
                f"{self._rule}: {MOST:,} events wait already; raise rate, or use else_='drop', which leaves "
                "them out"
            )
        pace.next.pop(name, None)
        pace.next[name] = after = full + self._step
        _forget(pace, now)
        if wait > ROUNDING:
            try:
                await _wait(self._rule, pace, wait, event)
            except asyncio.CancelledError:
                if pace.next.get(name) == after:
                    pace.next[name] = full  # nobody has come after it
                raise
        return True


async def _wait(rule: str, pace: _Pace, seconds: float, event: str) -> None:
    pace.waiting += 1
    try:
        await time_here().sleep(seconds)
    except asyncio.CancelledError:
        log.warning("%s: %s is not handled: it was ended while it waited", rule, event)
        raise
    finally:
        pace.waiting -= 1


def _note_dropped(rule: str, pace: _Pace, event: str) -> None:
    """Log an event that is left out; as a warning the first, the tenth and so on."""
    pace.dropped += 1
    note = log.warning if is_power_of_ten(pace.dropped) else log.info
    note("%s: %s is left out, %d so far", rule, event, pace.dropped)
    note_of(contextvars.copy_context(), f"{rule} leaves it out, as it comes too early")


def _forget(pace: _Pace, now: float) -> None:
    """Forget keys that have all of their burst again: they are as new ones; of too many, the oldest."""
    if len(pace.next) <= pace.look_at:
        return
    for key in [key for key, full in pace.next.items() if full <= now]:
        del pace.next[key]
    while len(pace.next) > KEYS:
        del pace.next[next(iter(pace.next))]
    pace.look_at = min(KEYS, max(MOST, 2 * len(pace.next)))
