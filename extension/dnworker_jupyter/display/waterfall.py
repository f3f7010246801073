"""The waterfall of a trace as a table of HTML: what waited, ran and failed when; used by `trace_html`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Literal

from dnworker.core.envelope import is_reserved
from dnworker.events.spans import Span
from dnworker_jupyter.display.html import (
    BAD_FILL,
    LINE,
    MONO,
    MUTED,
    OK_FILL,
    RUN_FILL,
    WAIT,
    bare,
    coloured,
)

ROWS_SHOWN = 150
"""Rows of a trace in HTML; the panel and the text have the rest."""

_LEAST_WAIT = 2.0  # milliseconds that are worth a word
_DEEPEST = 24  # levels that are indented
_CELL = "padding:0;border:0;background:none;vertical-align:middle"

Signs = dict[str, tuple[str, str, str]]
_SIGNS: Signs = {
    "ok": ("●", "ok", OK_FILL),
    "warning": ("●", "warn", "#c98412"),
    "error": ("◆", "bad", BAD_FILL),
    "running": ("○", "lnk", RUN_FILL),
    "cancelled": ("○", "mu", WAIT),
}


def duration_text(ms: float | None) -> str:
    """Return milliseconds as text: `0.31 ms`, `12.4 ms`, `480 ms`, `3.20 s`, `4 min 10 s`."""
    if ms is None:
        return ""
    if ms < 0.9995:
        return f"{ms:.2f} ms" if ms else "0 ms"
    if ms < 99.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 59_995:
        return f"{ms / 1000:.2f} s" if ms < 9_995 else f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


class Axis:
    """The time of a trace, from 0 to a round number of milliseconds after its end."""

    def __init__(self, spans: Sequence[Span]) -> None:
        ends = [one.ended if one.ended is not None else one.started or 0.0 for one in spans]
        ends += [mark.at for one in spans for mark in one.marks]
        self.total = max(ends, default=0.0)
        least = max(self.total, 0.01) / 5
        power = 10.0 ** math.floor(math.log10(least))
        self.step = next(n * power for n in (1, 2, 3, 5, 10) if n * power >= least * 0.999)
        self.end = self.step * max(1, math.ceil(self.total / self.step - 1e-9))

    def share(self, ms: float) -> float:
        """Return where a moment is, in percent."""
        return max(0.0, min(100.0, ms / self.end * 100))

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Go through the labels, each with where it is in percent."""
        in_seconds = self.end >= 2_000
        for n in range(round(self.end / self.step)):
            at = n * self.step
            text = f"{at / 1000 if in_seconds else at:.10g}"
            yield self.share(at), f"{text} {'s' if in_seconds else 'ms'}" if n == 0 else text


def waterfall(spans: Sequence[Span], marked: str | None = None) -> str:
    """Return the rows of a trace as a table; `marked` is the id of the row that stands out."""
    axis = Axis(spans)
    head = "".join(
        f"<span style='position:absolute;left:{at:.3g}%;margin-left:{-8 if n else 0}px'>{text} </span>"
        for n, (at, text) in enumerate(axis.ticks())
    )
    small = ";font-size:11px"
    first = (
        f"<tr style='background:none'><th style='{_CELL};text-align:left;font-weight:normal;width:34%'>"
        f"{coloured('Event and what it caused', 'mu', small)}</th>"
        f"<th style='{_CELL};font-weight:normal;text-align:left'><div style='position:relative;height:20px;"
        f"font-size:11px;color:{MUTED};border-bottom:{LINE}'>{head}</div></th>"
        f"<th style='{_CELL};width:76px;text-align:right;font-weight:normal'>"
        f"{coloured('Ran', 'mu', small)}</th></tr>"
    )
    rows = "".join(_row(one, axis, is_marked=one.id == marked) for one in spans)
    return (
        "<table style='width:100%;table-layout:fixed;border-collapse:collapse;margin:4px 0;border:0;"
        "font-size:13px'>"
        f"<thead style='border:0'>{first}</thead><tbody>{rows}</tbody></table>"
    )


def _row(span: Span, axis: Axis, *, is_marked: bool) -> str:
    indent = "\u00a0" * (2 * min(span.depth, _DEEPEST))
    tint = "background-color:rgba(111,134,232,.14)" if is_marked else "background:none"
    if span.type == "note":
        note = coloured(escape(span.text), "warn", ";white-space:normal")
        return f"<tr style='{tint}'><td colspan='3' style='{_CELL};text-align:left'>{indent}{note}</td></tr>"
    name, bars, ran = (_event if span.type == "event" else _call)(span, axis)
    clip = "white-space:nowrap;overflow:hidden;text-overflow:ellipsis"
    step = f"{axis.share(axis.step):.4g}"
    grid = f"<div class='dnt-g' style='position:relative;height:26px;background-size:{step}% 100%'>"
    return (
        f"<tr style='{tint}'><td style='{_CELL};text-align:left;{clip}'>{indent}{name}</td>"
        f"<td style='{_CELL};text-align:left'>{grid}{bars}</div></td>"
        f"<td style='{_CELL};text-align:right;white-space:nowrap'>{ran}</td></tr>"
    )


def _event(span: Span, axis: Axis) -> tuple[str, str, str]:
    number = f"#{span.seq}" if span.last in (None, span.seq) else f"#{span.seq} to #{span.last}"
    name = f"<span class='dnt-m' style='{MONO}'>◇ {escape(span.kind)}</span> {coloured(number, 'mu')}"
    if span.text:
        name += f" <span title='{escape(span.text)}'>{escape(span.text)}</span>"
    if not span.heard and not is_reserved(span.kind) and span.kind != "notify":
        name += f" {coloured('Nobody listens', 'warn')}"
    marks = "".join(
        f"<span style='position:absolute;left:{axis.share(mark.at):.4g}%;top:3px;margin-left:-5px'>◇</span>"
        for mark in span.marks
    )
    return name, marks, ""


def _call(span: Span, axis: Axis) -> tuple[str, str, str]:
    sign, name, fill = _SIGNS[span.outcome]
    mark = coloured(sign, name, title=span.outcome) + bare(f" {span.outcome}")
    title = f"{escape(span.worker)}{coloured('.' + escape(span.handler), 'mu')}"
    if span.outcome == "error":
        title = coloured(f"{escape(span.worker)}.{escape(span.handler)}", "bad")
    if span.text:
        title += f" <span title='{escape(span.text)}'>{escape(span.text)}</span>"
    started, published = span.started or 0.0, span.published or 0.0
    ended = axis.total if span.ended is None else span.ended
    bars = _bar(axis, published, started, "wait", WAIT) + _bar(axis, started, ended, "run", _fill(span, fill))
    bars += _label(span, axis, published, ended, started - published)
    ran = "…" if span.ran is None else duration_text(span.ran)
    return f"{mark} {title}", bars, coloured(ran, "bad" if span.outcome == "error" else "mu")


def _fill(span: Span, fill: str) -> str:
    return RUN_FILL if span.outcome == "ok" else fill


def _bar(axis: Axis, start: float, end: float, kind: Literal["wait", "run"], fill: str) -> str:
    left, width = axis.share(start), axis.share(end) - axis.share(start)
    if kind == "wait" and width < 0.05:
        return ""
    cls = " class='dnt-q'" if kind == "wait" else ""
    least = ";min-width:3px" if kind == "run" else ""
    return (
        f"<span{cls} style='position:absolute;left:{left:.4g}%;width:{width:.4g}%;top:8px;height:10px;"
        f"background-color:{fill};border-radius:2px{least}'></span>"
    )


def _label(span: Span, axis: Axis, begin: float, end: float, waited: float) -> str:
    text = span.error or ""
    if not text and waited >= max(_LEAST_WAIT, 0.1 * (span.ran or 0.0)):
        text = f"waited {duration_text(waited)}"
    if not text:
        return ""
    at = f"left:{axis.share(end):.4g}%;margin-left:6px"
    if axis.share(end) > 78:
        at = f"right:{100 - axis.share(begin):.4g}%;margin-right:6px"
    style = f"position:absolute;{at};top:3px;font-size:11px;white-space:nowrap"
    return f"<span style='{style}'>{escape(text)}</span>"
