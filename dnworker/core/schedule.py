"""Computes when a schedule runs next and how long a crashed task waits; runners use it, and wait."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Literal, TypeGuard

from dnworker.core.errors import BadSchedule

Catchup = Literal["once", "skip"]
"""What becomes of runs that were missed while no runtime was there: one is made up for, or none."""

LONGEST_INTERVAL = 1e10
"""Seconds of an interval that its label is read as: three hundred years."""


@dataclass(frozen=True)
class ScheduleSpec:
    """One `every(...)`: exactly one of the two fields is set (contract 1.2).

    `interval_seconds` is in seconds; `cron_expr` has the five standard fields and is read in UTC.
    """

    interval_seconds: float | None = None
    cron_expr: str | None = None

    @property
    def label(self) -> str:
        """The schedule as text: `30s`, or `cron 0 * * * *`."""
        if self.interval_seconds is not None:
            return f"{self.interval_seconds:g}s"
        return f"cron {self.cron_expr}"

    def next_run(self, now: datetime) -> datetime:
        """Return the time of the next run after `now`; the first run is one full interval away."""
        if self.interval_seconds is not None:
            return now + timedelta(seconds=self.interval_seconds)
        return next(self._ticks(now))

    def ticks_between(self, start: datetime, end: datetime, limit: int = 10_000) -> int:
        """Count the runs of cron text after `start` and not after `end`, up to `limit`."""
        return sum(1 for _ in takewhile(lambda tick: tick <= end, islice(self._ticks(start), limit)))

    def last_run(self, now: datetime) -> datetime:
        """Return the time of the last run of cron text that is not after `now`."""
        from croniter import croniter

        last: datetime = croniter(self.cron_expr, now.astimezone(UTC) + timedelta(seconds=1)).get_prev(
            datetime
        )
        return last

    def _ticks(self, start: datetime) -> Iterator[datetime]:
        from croniter import croniter  # only schedules with cron text pay for it

        upcoming: Iterator[datetime] = croniter(self.cron_expr, start.astimezone(UTC)).all_next(datetime)
        return upcoming


def seconds_of(label: str) -> float | None:
    """Return the seconds of an interval's label, such as `30s`; None for another label.

    A process says what its schedules are called, so a label may be anything.
    """
    try:
        seconds = float(label[:-1]) if label.endswith("s") else 0.0
    except ValueError:
        return None
    return seconds if 0 < seconds <= LONGEST_INTERVAL else None


def spec_of(label: str) -> ScheduleSpec | None:
    """Return the schedule that a process calls by a label; None where it is none."""
    if label.startswith("cron "):
        try:
            return ScheduleSpec(cron_expr=_check_cron(label[len("cron ") :]))
        except BadSchedule:
            return None
    seconds = seconds_of(label)
    return None if seconds is None else ScheduleSpec(interval_seconds=seconds)


def make_schedule(
    *, seconds: float | None = None, minutes: float | None = None, cron: str | None = None
) -> ScheduleSpec:
    """Check the arguments of `every` and return its spec.

    Raises:
        BadSchedule: a ValueError: not exactly one of the three was given, an interval is not a positive
            finite number, or the cron text has other than five fields or a value out of range
            (contract 1.3, 11.13, 14.5).
    """
    given = {k: v for k, v in {"seconds": seconds, "minutes": minutes, "cron": cron}.items() if v is not None}
    if len(given) != 1:
        what = " and ".join(given) if given else "none"
        raise BadSchedule(f"every() takes exactly one of seconds, minutes or cron, and got {what}")
    if cron is not None:
        return ScheduleSpec(cron_expr=_check_cron(cron))
    ((unit, value),) = given.items()
    if isinstance(value, bool) or not isinstance(value, int | float):
        way = f": write every({unit}={value.strip()})" if _is_number(value) else ""
        raise BadSchedule(f"every({unit}=...) takes a number, not {type(value).__name__} {value!r:.60}{way}")
    if not math.isfinite(value) or value <= 0:
        raise BadSchedule(f"every({unit}={value!r}): the interval must be greater than zero")
    return ScheduleSpec(interval_seconds=value * 60 if unit == "minutes" else value)


def _is_number(value: object) -> TypeGuard[str]:
    """Return whether a value is a number in quotes."""
    if type(value) is not str:
        return False
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _check_cron(text: str) -> str:
    if not isinstance(text, str):
        raise BadSchedule(f"every(cron=...) takes text such as '0 * * * *', not {text!r}", code="DN309")
    fields = text.split()
    if len(fields) != 5:
        raise BadSchedule(
            f"every(cron={text!r}) has {len(fields)} fields; cron takes five: "
            "minute hour day-of-month month day-of-week",
            code="DN309",
        )
    from croniter import croniter

    if not croniter.is_valid(text):
        raise BadSchedule(
            f"every(cron={text!r}) is no valid cron text; an example is '*/5 * * * *'", code="DN309"
        )
    return text


FIRST_DELAY = 1.0
LONGEST_DELAY = 300.0
STABLE_AFTER = 60.0


class Backoff:
    """How long a supervised task waits before it starts again: 1, 2, 4 ... 256, 300, 300 s (contract 2.4).

    A run of 60 s or more clears the count. A task is exhausted when it ends early once more after having
    waited the longest delay (contract 14.1).
    """

    def __init__(self) -> None:
        self._short_runs = 0

    @property
    def exhausted(self) -> bool:
        """Whether the task ended early again after the longest wait."""
        return self._short_runs > self._runs_to_longest

    def ended(self, ran_for: float) -> float:
        """Note a run of `ran_for` seconds and return the seconds to wait before the next."""
        if ran_for >= STABLE_AFTER:
            self._short_runs = 0
            return FIRST_DELAY
        self._short_runs += 1
        return min(FIRST_DELAY * 2.0 ** (self._short_runs - 1), LONGEST_DELAY)

    _runs_to_longest = math.ceil(math.log2(LONGEST_DELAY / FIRST_DELAY)) + 1
