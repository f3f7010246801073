"""`trace_html`: a trace as static HTML: outcome, waterfall, what failed where, what was printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import islice
from typing import TYPE_CHECKING

from dnworker.core.detail import detail
from dnworker.core.envelope import has_payload
from dnworker.core.json_rows import difference
from dnworker.core.source import cell_number, lines_around, short_place, split_place
from dnworker.events.last_good import last_good
from dnworker.events.trace import CHANGES_SHOWN, Trace, TracedInvocation, debug_command
from dnworker.panel.actions import CellNow
from dnworker_jupyter.display.html import (
    LINE,
    MONO,
    SANS,
    SHEET,
    WAIT,
    coloured,
    details,
    diff_block,
    python_block,
)
from dnworker_jupyter.display.printed import Room, printed
from dnworker_jupyter.display.waterfall import ROWS_SHOWN, duration_text, waterfall

if TYPE_CHECKING:
    from dnworker.core.handler_error import HandlerError
    from dnworker.events.traced_error import TracedError

ERRORS_SHOWN = 5
"""Errors that are shown with their lines; of more, what they say."""

DIFF_ROWS = 40
NOTES_SHOWN = 50
RUNS_READ = 2_000
"""Rows of a difference, notes, and runs of a trace that are looked at."""

CellLink = Callable[[int], CellNow]
"""Returns where the cell is that had a number when it ran."""


def trace_html(
    trace: Trace, room: Room | None = None, notes: Sequence[str] = (), cell: CellLink | None = None
) -> str:
    """Return a trace as HTML.

    Args:
        room: how much of displays may be stored.
        notes: stand below the waterfall.
        cell: where cells are by now; without it, locations are no links.
    """
    return _TraceHtml(trace, room or Room(), notes, cell).html()


class _TraceHtml:
    def __init__(self, trace: Trace, room: Room, notes: Sequence[str], cell: CellLink | None) -> None:
        self._trace = trace
        self._room = room
        self._notes = notes
        self._cell = cell
        self._spans = trace.spans(ROWS_SHOWN)
        self._runs = [*islice(trace.iter_runs(), RUNS_READ)]
        self._failed = [run for run in self._runs if run.error is not None or run.unhandled]

    def html(self) -> str:
        failed = self._failed[0].id if self._failed else None
        parts = [
            self._head(),
            waterfall(self._spans, failed) if len(self._spans) > 1 else "",
            *(_note(text) for text in islice(self._all_notes(), NOTES_SHOWN)),
            *(_warning(run) for run in self._runs[:ROWS_SHOWN] if run.warnings),
            *self._errors(),
            printed(self._runs, self._room, is_open=not self._failed),
            *self._changes(),
            *self._payloads(),
        ]
        style = f"{SANS};border:{LINE};border-radius:6px;padding:8px 16px;margin:2px 0"
        body = "".join(parts)
        return f"{SHEET}<div class='dnt' style='{style}' role='group' aria-label='trace'>{body}</div>"

    def _head(self) -> str:
        event, outcome = self._trace.event, self._trace.outcome
        sign, name = {"ok": ("✓", "ok"), "not ok": ("✗", "bad"), "under way": ("…", "lnk")}[outcome]
        sign = coloured(sign, name, ";font-weight:bold", outcome)
        mark = f"<span role='img' aria-label='{outcome}'>{sign}</span>"
        scope = f", session {escape(event.session_id)}" if event.session_id else ""
        legend = "".join(
            f"<span style='margin-left:12px;white-space:nowrap'>{_swatch(fill, cls)} {word}</span> "
            for word, fill, cls in (
                ("Waited", WAIT, " class='dnt-q'"),
                ("Ran", "#6f86e8", ""),
                ("Failed", "#d93a42", ""),
            )
        )
        replayed = self._trace.replayed
        number = f"#{event.seq} (again, as #{replayed.seq})" if replayed is not None else f"#{event.seq}"
        return (
            "<div style='display:flex;flex-wrap:wrap;align-items:baseline'>"
            f"<div style='flex:1 1 auto'>{mark} <b>{escape(event.kind)}</b> {coloured(number, 'mu')} "
            f"{escape(self._summary())}{scope}</div>"
            f"<small>{legend}<span style='margin-left:12px'>◇ Event</span></small></div>"
        )

    def _summary(self) -> str:
        calls, failed = len(self._runs), len(self._failed)
        times = f", {duration_text(self._took())}" if calls else ""
        if not calls:
            return "no handler ran"
        noun = "call" if calls == 1 else "calls"
        return f"{failed} of {calls} {noun} failed{times}" if failed else f"{calls} {noun}{times}"

    def _took(self) -> float:
        ends = [span.ended if span.ended is not None else span.started for span in self._spans]
        return max((end for end in ends if end is not None), default=0.0)

    def _all_notes(self) -> Iterator[str]:
        yield from self._trace.remarks()
        for run in self._runs:
            if run.lines_lost:
                yield f"({run.label}: {run.lines_lost:,} earlier lines are not kept any more)"
        yield from self._notes

    # -- what failed -----------------------------------------------------------------------------------

    def _errors(self) -> Iterator[str]:
        errors = [(run, error) for run in self._failed for error in run.errors()]
        for run, error in errors[:ERRORS_SHOWN]:
            yield self._error(run, error)
        more = errors[ERRORS_SHOWN:]
        if more:
            lines = "".join(
                f"<div>{escape(error.label)}: {escape(str(error)[:300])}</div>" for _, error in more[:50]
            )
            yield details(f"{len(more):,} more errors", lines)

    def _error(self, run: TracedInvocation, error: TracedError) -> str:
        where = escape(f"{error.worker}.{error.handler}")
        head = coloured(escape(error.text), "bad", f";font-weight:bold;{MONO.replace('12px', '13px')}")
        place = self._place(error.place) if error.frames else escape(error.place)
        text = [
            f"<div style='border-top:{LINE};margin-top:8px;padding-top:8px;display:flex;flex-wrap:wrap'>"
            f"<div style='flex:1 1 auto;white-space:pre-wrap'>{head}</div><div>{where}, {place}</div></div>"
        ]
        if error.is_unhandled:
            text.append("<div>A task that it started raised this, and nobody awaited it.</div>")
        if detail() != "minimal":
            text += [*self._frames(error)]
        if run.exception is not None and run.event is not None:
            command = f"<code>{escape(debug_command(run.event))}</code>"
            text.append(f"<div>{command} opens the frame that raised</div>")
        return "".join(text)

    def _frames(self, error: HandlerError) -> Iterator[str]:
        """Yield the line that raised; what led there, and what it came of, opens on demand."""
        if not error.frames:
            yield from self._members(error)
            return
        last = error.frames[-1]
        found = split_place(last.place)
        yield python_block(lines_around(last.place, last.source), found[1] if found else None)
        if last.locals:
            values = escape("\n".join(f"{name} = {value}" for name, value in last.locals))
            count = f"{len(last.locals)} value{'s' if len(last.locals) > 1 else ''}"
            yield details(
                count, f"<pre style='margin:0;white-space:pre-wrap;background:none;{MONO}'>{values}</pre>"
            )
        for note in error.notes:
            yield f"<div style='white-space:pre-wrap'>{escape(note)}</div>"
        if len(error.frames) > 1 or error.hidden or error.cause or error.context:
            lines = escape("\n".join(error.lines()))
            pre = f"<pre style='margin:0;white-space:pre-wrap;background:none;{MONO}'>{lines}</pre>"
            yield details(_traceback_title(error), pre)
        yield from self._members(error)

    def _members(self, error: HandlerError) -> Iterator[str]:
        for member in error.members[:ERRORS_SHOWN]:
            yield f"<div style='margin-left:16px'>{coloured(escape(str(member)[:500]), 'bad')}</div>"

    def _place(self, place: str) -> str:
        """Return a location, as a link to the newest run of its cell where there is one."""
        number = cell_number(place)
        if number is None or self._cell is None:
            return f"<span title='{escape(place)}'>{escape(short_place(place))}</span>"
        now = self._cell(number)
        said = f" <small>({escape(now.note)})</small>" if now.note else ""
        if now.id is None:
            return f"{escape(place)}{said}"
        link = f"<a class='dnt-lnk' href='#cell-id={escape(now.id)}'>{escape(place)}</a>"
        return f"{link}{said}"

    # -- what else ------------------------------------------------------------------------------------

    def _changes(self) -> Iterator[str]:
        lines = []
        for run in self._runs:
            changes = run.state_changes
            shown = changes[:CHANGES_SHOWN]
            more = [f"and {len(changes) - len(shown)} more"] if len(changes) > len(shown) else []
            lines += [
                f"<div>{escape(run.label)} {coloured(escape(text), 'mu')}</div>" for text in [*shown, *more]
            ]
        if lines:
            count = sum(len(run.state_changes) for run in self._runs)
            title = f"{count} change{'s' if count > 1 else ''} of state"
            yield details(title, "".join(lines[:100]), is_open=len(lines) <= 5)

    def _payloads(self) -> Iterator[str]:
        """Yield how the payload of the first failure differs from the last that succeeded."""
        for run in self._failed[:1]:
            good = last_good(run.invocation, self._trace.history)
            event = run.event
            if good is None or event is None or not has_payload(event):
                continue
            found = difference(good.payload, event.payload, DIFF_ROWS)
            against = "a later one" if good.seq > event.seq else "the last"
            if not found.changes:
                yield _note(f"Payload #{event.seq} is equal to {against} that succeeded, #{good.seq}")
                continue
            title = f"Payload #{event.seq}, {found.where} differs from {against} that succeeded, #{good.seq}"
            yield details(title, diff_block(found.rows), is_open=True)


def _traceback_title(error: HandlerError) -> str:
    hidden = f", {error.hidden} frame{'s' if error.hidden > 1 else ''} of libraries" if error.hidden else ""
    return f"Traceback{hidden}"


def _swatch(fill: str, cls: str) -> str:
    style = f"display:inline-block;width:16px;height:10px;border-radius:2px;background-color:{fill}"
    return f"<span{cls} style='{style}'></span>"


def _note(text: str) -> str:
    return f"<div>{coloured(escape(text), 'mu')}</div>"


def _warning(run: TracedInvocation) -> str:
    return "".join(
        f"<div style='white-space:pre-wrap'>{coloured(escape(f'! {run.label}: {warning}'), 'warn')}</div>"
        for warning in run.warnings
    )
