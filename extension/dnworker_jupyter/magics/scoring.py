"""`%replay ... --score FUNCTION`: a function of the user's says how good each event's outcome is."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dnworker.core.errors import UsageError
from dnworker.core.handler_error import describe
from dnworker.core.short_values import short_value
from dnworker.core.text import shorten
from dnworker.core.time_limits import time_limit
from dnworker.events.trace import Trace
from dnworker_jupyter.display.scores import ONLY, Score, Scores

Function = Callable[[Trace], Any]
"""Takes the trace of an event; returns a number, a bool, a dict of them, or None. It may be async."""

_FORM = "a score is a number, True or False, a dict of them by name, or None"

LARGEST = 1e100
"""The largest number, so that sums and means are numbers, too."""

LONGEST_NAME = 40
LONGEST_PROBLEM = 300
"""Characters of a number's name, and of what is wrong with a score."""


class _NoScore(Exception):
    """What the function returns is no score; the text says what is."""


class _TooLong(Exception):
    """The function takes longer than it may."""


def function_of(name: str, names: Mapping[str, Any]) -> Function:
    """Return the function that `--score` names.

    Raises:
        UsageError: there is none, or it takes something else.
    """
    function = names.get(name)
    if not callable(function):
        raise UsageError(
            f"--score {name}: there is no such function; define it in a cell: def {_word(name)}(trace): "
            "return trace.ok",
            code="DN220",
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise UsageError(f"--score {name}: it must take one argument, the trace", code="DN220") from None
    except ValueError:  # a callable without a signature
        pass
    return function  # type: ignore[no-any-return]


def scores_of(name: str | None, names: Mapping[str, Any]) -> Scores | None:
    """Return the earlier scores that `--against` names; None where it names none.

    Raises:
        UsageError: it names something else.
    """
    if name is None:
        return None
    found = names.get(name)
    if not isinstance(found, Scores):
        raise UsageError(
            f"--against {name}: it is no result of %replay --score; keep one: before = %replay last 50 "
            "--score fn",
            code="DN220",
        )
    return found


async def score(traces: Sequence[Trace], function: Function, timeout: float) -> list[Score]:
    """Return the score of each trace, in their order; `timeout` are the seconds that one may take.

    What the function raises is the problem of that event, and the others go on.
    """
    return [await _score(trace, function, timeout) for trace in traces]


async def _score(trace: Trace, function: Function, timeout: float) -> Score:
    event = trace.replayed or trace.event
    try:
        return Score(event, trace, _numbers(await _called(function, trace, timeout)))
    except _NoScore as exc:
        return Score(event, trace, problem=str(exc))
    except _TooLong:
        return Score(event, trace, problem=f"the score takes longer than {timeout:g} s; raise --timeout")
    except Exception as exc:  # the user's function; the others are to be scored
        error = describe(exc)
        where = f" ({error.frames[-1].place})" if error.frames else ""
        return Score(event, trace, problem=f"{error.type}: {shorten(error.message, LONGEST_PROBLEM)}{where}")


async def _called(function: Function, trace: Trace, timeout: float) -> object:
    """Return what the function returns.

    Raises:
        _TooLong: it takes longer than `timeout` seconds.
    """
    limit: asyncio.Timeout | None = None
    try:
        async with time_limit(timeout) as limit:
            value = function(trace)
            return await value if inspect.isawaitable(value) else value
    except TimeoutError as exc:
        if limit is not None and limit.expired():
            raise _TooLong from exc
        raise


def _numbers(value: object) -> dict[str, float]:
    """Return numbers by name.

    Raises:
        _NoScore: it is of another form.
    """
    if value is None:
        return {}
    found: Mapping[Any, Any] = value if isinstance(value, Mapping) else {ONLY: value}
    numbers = {}
    for name, number in found.items():
        try:
            given = math.nan if isinstance(number, str | bytes | bytearray) else float(number)
        except (TypeError, ValueError, OverflowError):
            given = math.nan
        if not abs(given) <= LARGEST:
            raise _NoScore(f"{short_value(value)} is no score; {_FORM}")
        numbers[shorten(" ".join(str(name).split()), LONGEST_NAME)] = given
    return numbers


def _word(name: str) -> str:
    return name if name.isidentifier() else "score"
