"""What the rules have in common: time, checks of what they are given, and what a decorated handler is.

It imports nothing of dnworker but errors: an export for another runtime carries this code with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import logging
import sys
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from dnworker.core.errors import BadRule, KeyNotHashable, RuleMisplaced

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

Key = Callable[[Any], Hashable]
"""Returns of an event what it counts for: events of different keys have nothing to do with each other."""

MOST = 10_000
"""Events that wait for one rule."""

KEYS = 100_000
"""Keys that a rule remembers of events that it has handled."""

ROUNDING = 1e-6
"""Seconds that a time may be off by, having been through floating point."""

log = logging.getLogger("dnworker.patterns")


class TimeHere(Protocol):
    """The clock that a rule goes by."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...


class LoopTime:
    """The time of the event loop, where the runtime gives handlers no clock."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)


def time_here() -> TimeHere:
    """Return the clock of the runtime whose handler runs here, which may be virtual; else the loop's."""
    module = sys.modules.get("dnworker.core.clock")
    clock: TimeHere | None = None if module is None else module.current_clock.get()
    return LoopTime() if clock is None else clock


def asleep_here() -> contextlib.AbstractContextManager[None]:
    """Count the handler that runs here as asleep: time of a virtual clock moves on without it."""
    mark = getattr(time_here(), "asleep_here", None)
    return contextlib.nullcontext() if mark is None else mark()


def note_of(context: contextvars.Context, text: str) -> None:
    """Have the trace of the event whose handler has this context say what a rule did with it."""
    module = sys.modules.get("dnworker.core.invocation")
    invocation = None if module is None else context.get(module.current_invocation)
    note = getattr(invocation, "note", None)
    if note is not None:
        note(text)


class PerLoop(Generic[S]):
    """What a rule remembers, apart for each event loop: a handler may run in several, one after another."""

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._of: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, S] = weakref.WeakKeyDictionary()

    def here(self) -> S:
        """Return that of the loop that runs."""
        loop = asyncio.get_running_loop()
        found = self._of.get(loop)
        if found is None:
            found = self._of[loop] = self._make()
        return found


def check_number(rule: str, name: str, value: Any, least: float, *, whole: bool = False) -> None:
    """Check a number that a rule is given; `least` itself is taken of whole numbers, and not of others.

    Raises:
        BadRule: it is none, or too small.
    """
    kinds = int if whole else int | float
    is_number = isinstance(value, kinds) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if not is_number or (value < least if whole else value <= least):
        wanted = f"a whole number from {least:g}" if whole else f"a number above {least:g}"
        raise BadRule(f"{rule}({name}={value!r:.60}) is not possible; {name} is {wanted}")


def check_key_function(rule: str, key: Any) -> None:
    """Check what a rule is given as its key.

    Raises:
        BadRule: it cannot be called, or is awaited.
    """
    if key is not None and not callable(key):
        raise BadRule(
            f"{rule}(key={key!r:.60}) is not possible; key is a function of the event: "
            "key=lambda e: e.session_id"
        )
    if any(inspect.iscoroutinefunction(one) for one in (key, getattr(key, "__call__", None))):  # noqa: B004
        raise BadRule(f"{rule}(key={called(key)}) is not possible; key is no async function: make it 'def'")


def called(function: Any) -> str:
    """Return the name of a function; of a partial, that of what it calls."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def key_of(rule: str, key: Key | None, args: tuple[Any, ...]) -> Hashable:
    """Return what an event counts for; None where all count for the same.

    Raises:
        KeyNotHashable: the key function gives a list, a dict or the like, or something to be awaited.
    """
    if key is None or not args:
        return None
    found = key(args[0])
    if inspect.isawaitable(found):
        getattr(found, "close", bool)()  # else Python warns that nobody has awaited it
        raise KeyNotHashable(
            f"the key of {rule}(...) would have to be awaited; return text or a number, or a tuple of them"
        )
    try:
        hash(found)
    except TypeError:
        raise KeyNotHashable(
            f"the key of {rule}(...) is a {type(found).__name__}, which cannot tell events apart; "
            "return text or a number, or a tuple of them"
        ) from None
    return found


def name_of(event: object) -> str:
    """Return by which name an event is told of."""
    return str(getattr(event, "event_id", type(event).__name__))


def is_power_of_ten(number: int) -> bool:
    """Return whether a count is told of: the first, the tenth, the hundredth and so on."""
    return number > 0 and 10 ** (len(str(number)) - 1) == number


def no_arguments(rule: str, form: str, args: tuple[object, ...]) -> None:
    """Check that a rule is not given its values by place, as `@debounce` without parentheses does.

    Raises:
        RuleMisplaced: it is.
    """
    if args:
        raise RuleMisplaced(f"@{rule} takes its values by name: write @{form}")


def ruled(
    rule: str,
    handler: Callable[..., Any],
    call: Callable[..., Awaitable[R]],
    anew: Callable[[Any], Any],
    key: Key | None,
) -> Callable[..., Coroutine[Any, Any, R]]:
    """Return a handler under a rule: it has the name, text and source of the one below.

    Args:
        rule: as people write it, such as `debounce(seconds=5)`.
        handler: the one below.
        call: handles an event by the rule.
        anew: puts another handler under the same rule, with a memory of its own.
        key: what the rule is given as its key.

    Raises:
        RuleMisplaced: it is no `async def` function, a worker has it already, without the rule, or `limit`
            lets through less than the rule below it gathers.
    """
    name = rule.partition("(")[0]
    if not inspect.iscoroutinefunction(handler):
        raise RuleMisplaced(
            f"@{name} takes an async def function, and {called(handler)!r} is none; make it 'async def'"
        )
    # Carried by an export, this may meet a dnworker of another version.
    if handler in getattr(sys.modules.get("dnworker.core.handlers"), "registered", ()):
        raise RuleMisplaced(
            f"@{name} stands above the decorator of the worker, which has {called(handler)!r} without it "
            f"then; write @{name}(...) below @worker.on_event(...)"
        )

    @functools.wraps(handler)
    async def under_rule(*args: Any, **fields: Any) -> R:
        return await call(*args, **fields)

    below: tuple[str, ...] = getattr(handler, "rules", ())
    gathers = next((one.partition("(")[0] for one in below if one.startswith(("batch(", "debounce("))), None)
    if name == "limit" and gathers is not None:
        raise RuleMisplaced(
            f"@limit stands above @{gathers}, which then gets only so many events to wait with; "
            f"write @limit(...) below @{gathers}(...)"
        )
    vars(under_rule).update(rules=(rule, *below), rule_key=key, anew=anew)
    return under_rule
