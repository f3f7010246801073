"""`parse_moment`: a time as people type it, such as `2h` or `2026-05-01 14:00`; lists of events and logs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from dnworker.core.errors import Invalid
from dnworker.core.text import shorten

_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|min|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SHOWN = 40

EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
"""The earliest moment: one that every time zone has a date for."""


def parse_moment(text: str, now: datetime, name: str = "since") -> datetime:
    """Return the moment that a text names, in UTC.

    Args:
        text: how long ago, such as `90s`, `15m`, `2h` or `3d`, or a date with a time in ISO-8601; one
            without a time zone is in UTC.
        now: the present, from which is counted.
        name: of the option or field, for the error.

    Raises:
        Invalid: it is neither.
    """
    if (ago := _AGO.fullmatch(text.strip())) is not None:
        try:
            return max(EARLIEST, now - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]]))
        except OverflowError:
            return EARLIEST
    try:
        found = datetime.fromisoformat(text.strip())
        return max(EARLIEST, (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC))
    except (ValueError, OverflowError):
        raise Invalid(
            f"{name} {shorten(text, _SHOWN)!r} is no time; write how long ago, such as 15m, 2h or 3d, or a "
            "date such as 2026-05-01T14:00Z",
            code="DN912",
        ) from None
