"""Words and numbers of a map: rates, durations, names cut to fit; `drawing` and `findings` use them."""

from __future__ import annotations

import unicodedata

NAME_ROOM, KIND_ROOM, DETAIL_ROOM = 16, 17, 19
"""Characters of a worker's name, of a kind, and of the line below a name that fit into a box."""


def rate(per_minute: float) -> str:
    """Return a rate: `48/h`, `10/min`, `2.1/s`, `1.2k/s`."""
    if per_minute >= 60_000:
        return f"{_digits(per_minute / 60_000)}k/s"
    if per_minute >= 60:
        return f"{per_minute / 60:.1f}/s" if per_minute < 595 else f"{per_minute / 60:,.0f}/s"
    if per_minute >= 1:
        return f"{_digits(per_minute)}/min"
    return f"{round(per_minute * 60)}/h" if round(per_minute * 60) else "0/s"


def bare_rate(per_minute: float) -> str:
    """Return a rate where there is no room for its unit, unless it is one a second or more from outside."""
    return rate(per_minute).rpartition("/")[0]


def _digits(value: float) -> str:
    return f"{value:.1f}" if value < 10 and round(value, 1) % 1 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a duration: `0.31 ms`, `12.4 ms`, `480 ms`, `3.20 s`, `4 min`, `3 h`."""
    ms = seconds * 1000
    if ms < 1:
        return f"{ms:.2f} ms"
    if ms < 100:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def span(seconds: float) -> str:
    """Return a span of whole units: `5 s`, `15 min`, `90 min`, `3 h`."""
    whole = max(1, round(seconds))
    if whole < 60 or whole % 60:
        return f"{whole} s" if whole < 120 else f"{round(whole / 60)} min"
    return f"{whole // 60} min" if whole % 3600 else f"{whole // 3600} h"


def share(failed: int, count: int) -> str:
    """Return a share in percent: `0.3 %`, `79 %`."""
    percent = 100 * failed / count
    return f"{percent:.1f} %" if percent < 1 else f"{percent:.0f} %"


def columns(text: str) -> int:
    """Return how many columns a text takes, where wide characters take two and combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(c) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def shown(text: str) -> str:
    """Return a text without characters that have no form, or that turn others around."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _TURNING
        else c
        for c in text
    )


_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff"


def fit(text: str, room: int, *, keep_end: bool = False) -> str:
    """Return a text cut to so many columns, with an ellipsis for what is left out."""
    text = shown(text)
    if columns(text) <= room:
        return text
    kept, used = "", 1
    for character in reversed(text) if keep_end else text:
        used += columns(character)
        if used > room:
            break
        kept += character
    return f"…{kept[::-1]}" if keep_end else f"{kept.rstrip()}…"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return `1 kind`, `2 kinds`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
