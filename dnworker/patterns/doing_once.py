"""`once`: of the events of one key, one is handled."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from typing import Any

from dnworker.core.errors import BadRule, KeyNotHashable
from dnworker.patterns.parts import (
    KEYS,
    Key,
    P,
    PerLoop,
    R,
    called,
    check_key_function,
    key_of,
    log,
    no_arguments,
    note_of,
    ruled,
    time_here,
)

DAY = 86_400.0
"""Seconds for which a runtime remembers a key of `client.once`."""

LONGEST_KEY = 512
"""Characters of a key that a runtime takes; of a longer one, it gets the begin and a digest."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY}


class _Known:
    """What was handled, in one event loop."""

    def __init__(self) -> None:
        self.done: dict[Hashable, float] = {}
        """The keys that were handled, and when, oldest first."""
        self.running: dict[Hashable, asyncio.Event] = {}
        """Those that are handled now; set when that is over."""


def once(
    *args: object, key: Key, within: float | str = "24h"
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R | None]]]:
    """Handle one event for each key, and leave out the others; one that failed does not count.

    With the 24 hours that it has by default, the runtime remembers the keys, as of `client.once`: a durable
    one over a kill. For a shorter time, and on a runtime without `client.once`, the process remembers up to
    100,000 keys until it ends.

    Args:
        args: none; everything is given by name.
        key: of an event what is done once, such as `lambda e: e.payload["order"]`. It is text, or a number,
            or a tuple of them; `1` and `"1"` are two keys.
        within: for how long: seconds, or text such as `"30m"`, up to 24 hours.

    Returns:
        A decorator for a handler, to be written below `@worker.on_event(...)`.

    Raises:
        BadRule, RuleMisplaced: the time is too short or too long, or the decorator is used in another way.
        KeyNotHashable: at an event, where the key function gives None, a list or something to be awaited.

    Examples:
        >>> from dnworker.patterns import once
        >>> @worker.on_event("order.paid")
        ... @once(key=lambda e: e.payload["order"])
        ... async def ship(event, client):
        ...     print(f"ship {event.payload['order']}")
        >>> managed = await runtime.add(worker)
        >>> for order in (7, 7, 8):
        ...     trace = await runtime.fire("order.paid", {"order": order})
        ship 7
        ship 8
    """
    no_arguments("once", 'once(key=lambda e: e.payload["order"])', args)
    if not callable(key):
        raise BadRule(
            f"once(key={key!r:.60}) is not possible; key is a function of the event: "
            'key=lambda e: e.payload["order"]'
        )
    check_key_function("once", key)
    seconds = _seconds(within)
    rule = f"once(key=..., within={within!r})"

    def decorate(handler: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R | None]]:
        known = PerLoop(_Known)

        async def call(*args: Any, **fields: Any) -> R | None:
            found = key_of("once", key, args)
            if found is None:  # as payload.get(...) gives for events without it: those are not the same
                raise KeyNotHashable(
                    "the key of once(...) is None, which cannot tell events apart; return text or a number, "
                    "or a tuple of them"
                )
            client_once = getattr(args[1], "once", None) if seconds == DAY and len(args) > 1 else None
            if client_once is not None and not getattr(client_once, "forgets", False):
                async with client_once(_as_text(_of_handler(handler, args[0]), found)) as is_first:
                    return await _handle(is_first, rule, found, handler, args, fields)
            async with _Body(known.here(), found, seconds) as is_first:
                return await _handle(is_first, rule, found, handler, args, fields)

        return ruled(rule, handler, call, decorate, key)

    return decorate


async def _handle(
    is_first: bool,
    rule: str,
    key: Hashable,
    handler: Callable[..., Awaitable[R]],
    args: tuple[Any, ...],
    fields: dict[str, Any],
) -> R | None:
    if is_first:
        return await handler(*args, **fields)
    text = f"{rule} leaves it out: {key!r:.100} was handled before"
    log.info("%s", text)
    note_of(contextvars.copy_context(), text)
    return None


class _Body:
    """Enters a handler for a key, as `client.once` does, by what this process remembers."""

    def __init__(self, known: _Known, key: Hashable, seconds: float) -> None:
        self._known = known
        self._key = key
        self._seconds = seconds
        self._is_first = False

    async def __aenter__(self) -> bool:
        while (running := self._known.running.get(self._key)) is not None:
            await running.wait()
        now, done = time_here().monotonic(), self._known.done
        while done and (now >= done[oldest := next(iter(done))] + self._seconds or len(done) > KEYS):
            del done[oldest]
        if self._key in done:
            return False
        self._known.running[self._key] = asyncio.Event()
        self._is_first = True
        return True

    async def __aexit__(self, kind: type[BaseException] | None, *about: object) -> None:
        if self._is_first:
            if kind is None:
                self._known.done[self._key] = time_here().monotonic()
            self._known.running.pop(self._key).set()


def _of_handler(handler: Callable[..., Any], event: object) -> tuple[str, str]:
    """Return what tells a handler from the others of its worker: its name, and its first kind.

    One function that listens to several kinds does for a key of all of them one thing. The second of its name
    for its kind has the name with a number, as in traces.
    """
    handlers, runs = (sys.modules.get(f"dnworker.core.{name}") for name in ("handlers", "invocation"))
    kinds: Mapping[Any, str] = {} if handlers is None else handlers.first_kinds
    kind = kinds.get(inspect.unwrap(handler)) or str(getattr(event, "kind", ""))
    key = getattr(None if runs is None else runs.current_invocation.get(), "key", None)
    return (called(handler) if key is None or key.trigger != kind else key.name), kind


def _as_text(of: tuple[str, str], key: Hashable) -> str:
    """Return a key of `client.once`; those of other handlers, and of `1` and `"1"`, are others.

    It is none that an earlier dnworker wrote, which was the handler's name, a slash and the key.
    """
    text = repr((*of, key))
    if len(text) <= LONGEST_KEY:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[: LONGEST_KEY - len(digest) - 1]} {digest}"


def _seconds(within: object) -> float:
    """Return a time in seconds.

    Raises:
        BadRule: it is none, or too long.
    """
    seconds: float | None = None
    if isinstance(within, str) and (
        found := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", within.strip())
    ):
        seconds = float(found[1]) * _UNITS[found[2]]
    elif isinstance(within, int | float) and not isinstance(within, bool):
        seconds = float(within)
    if seconds is None or not 0 < seconds <= DAY:
        raise BadRule(
            f"once(within={within!r:.60}) is not possible; within is above 0 and up to 24 hours, as "
            'seconds or as text such as "30m"'
        )
    return seconds
