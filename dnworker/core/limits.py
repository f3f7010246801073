"""`Limits`: how much of the machine a runtime may use; one object, made where a runtime is made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from dnworker.core.errors import UsageError

StormMode = Literal["hold", "warn", "off"]
"""What is done about a storm of events: they are held back, or it is only told, or nothing is looked at."""

KB, MB = 1_000, 1_000_000
_UNITS = {"": 1, "k": KB, "m": MB, "g": 1_000 * MB}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Budgets of a runtime; `serve --limit NAME=VALUE` sets one. Sizes are in bytes, times in seconds."""

    history: int = 64 * MB
    """Bytes of events and invocations that are kept in memory for traces and the panel."""
    replay: int = 64 * MB
    """Bytes of events that are kept for replay, of all sessions together; each session has its own bound."""
    sessions: int = 256 * MB
    """Bytes of messages that are kept in memory, of all sessions together."""
    journal: int = 32 * MB
    """Bytes of events and invocations that wait for a slow disk to take them into the journal."""
    log: int = 32 * MB
    """Bytes of log lines that are kept in memory, of all workers together."""
    held: int = 16 * MB
    """Bytes of events that are held for a process which was started and has not subscribed yet."""
    held_seconds: float = 60.0
    """Seconds for which events are held for a process, and for which a lost stream of it is waited for."""
    queue: int = 64 * MB
    """Bytes of events that wait for one worker; publishers wait when they are used up."""
    storm: int = 1_000
    """Events of one chain that repeat what led to them, within 10 s, after which it is a storm."""
    storm_held: int = 16 * MB
    """Bytes of events that are held back of storms."""
    log_file: int = 256 * MB
    """Bytes of the file of one worker process's output, which becomes `.prev` then, and a new one begins."""
    publish_seconds: float = 30.0
    """Seconds for which a publisher waits for a worker whose queue is full and which takes nothing."""
    subscriber: int = 8 * MB
    """Bytes of events that wait for a subscriber over the network that is no worker; then it is cut off."""
    connections: int = 1_024
    """Connections that the server has open at a time."""
    unauthenticated: int = 128
    """Open connections that have not shown a token yet."""
    header_bytes: int = 65_536
    """Bytes of the request line and headers of one request, and of the trailers of its body."""
    header_count: int = 100
    """Headers of one request."""
    header_seconds: float = 10.0
    """Seconds in which the headers of a request must be complete; without a token, also its body."""
    body_seconds: float = 60.0
    """Seconds for which the body of a request may pause, and for which an answer may stay unread."""


def parse_limits(given: Iterable[str]) -> Limits:
    """Return the limits that `NAME=VALUE` texts set, such as `history=128MB` or `held_seconds=30`.

    Raises:
        UsageError: a text has another form, names no limit, or its value is no positive amount.
    """
    names = Limits.__struct_fields__
    values: dict[str, float] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in names:
            import difflib  # only for a mistake

            near = difflib.get_close_matches(name, names, 1)
            meant = f"; did you mean {near[0]}?" if near and equals else ""
            raise UsageError(
                f"--limit {text!r}: write NAME=VALUE, where NAME is one of {', '.join(names)}{meant}",
                code="DN910",
            )
        found = _AMOUNT.fullmatch(value.strip())
        amount = float(found[1]) * _UNITS[found[2].lower()] if found else 0.0
        if amount <= 0:
            raise UsageError(
                f"--limit {text!r}: the value is a positive amount, such as 64MB or 30", code="DN910"
            )
        values[name] = amount if name.endswith("_seconds") else max(1, int(amount))
    return msgspec.convert(values, Limits)


def storm_mode(text: str) -> StormMode:
    """Return what a word means that says what to do about storms.

    Raises:
        UsageError: it is none of the words.
    """
    modes: tuple[StormMode, ...] = get_args(StormMode)
    for mode in modes:
        if mode == text:
            return mode
    raise UsageError(
        f"{text!r} is not what can be done about a storm; write {', '.join(modes)}", code="DN214"
    )


def amount(value: float, name: str) -> str:
    """Return an amount of the limit `name` as text, such as `3.2 MB`, `60 s` or `12`."""
    if name.endswith("_seconds"):
        return f"{value:g} s"
    if name in ("connections", "unauthenticated", "header_count", "storm"):
        return f"{value:,.0f}"
    return f"{value / MB:.1f} MB"
