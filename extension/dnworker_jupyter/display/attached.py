"""What the notebook is attached to, as text and as HTML: the mark, the score, and both sides of each event.

A mark is one line, red where the attachment is live. Rows are bounded: what is stored in a notebook is a page
of them, and each side of a row is cut, as `dnworker.panel.attached_part` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from dnworker.flow.words import counted
from dnworker.panel.attached import attached_since, attachment_of, lines_of, state_since
from dnworker_jupyter.display.html import LINE, MONO, SANS, SHEET, block_row, coloured

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.events.trace import Trace
    from dnworker.panel.attached import ShownAttachment, ShownRow, ShownScore

ROWS_SHOWN = 50
"""Rows that a line shows where it does not say how many."""

MOST_ROWS = 10_000
"""Rows that are kept, and those that a text has."""

HTML_ROWS = 500
"""Rows that are stored in a notebook."""

WORKERS_SHOWN = 50
GAPS_SHOWN = 5

_SIGNS = {"same": ("✓", "ok"), "different": ("✗", "bad"), "pending": ("…", "mu"), "unknown": ("?", "warn")}
_RED, _CALM, _RESET = "\x1b[1;41;37m", "\x1b[2m", "\x1b[0m"
_LIVE_STYLE = "background-color:#b3161f;color:#ffffff;font-weight:bold"


class Choice(NamedTuple):
    """Which rows are shown."""

    last: int = ROWS_SHOWN
    only_different: bool = False
    worker: str | None = None

    def of(self, attachment: ShownAttachment) -> Sequence[ShownRow]:
        """Return the rows, oldest first."""
        return attachment.rows(self.last, only_different=self.only_different, worker=self.worker)


# -- the mark ------------------------------------------------------------------------------------------


def mark(engine: Engine, *, colours: bool = False) -> Marked | None:
    """Return the line over what shows a runtime; None where that is attached to nothing."""
    attachment = attachment_of(engine)
    if attachment is None:
        return None
    return Marked(mark_of(attachment), is_live=attachment.is_live, colours=colours)


def mark_of(attachment: ShownAttachment) -> str:
    """Return the line that says how the notebook is attached, and that it is lost where it is."""
    if attachment.state == "ended":
        return f"was attached to {attachment.url} {'live' if attachment.is_live else 'in shadow'}"
    state = state_text(attachment)
    more = f" ({state})" if state else ""
    if attachment.is_live:
        what = "what workers publish, notify or start is done there"
        return f"LIVE at {attachment.url}: {what}{more}"
    what = "what workers would publish, notify or start is written down, and nothing is changed there"
    return f"attached to {attachment.url} in shadow: {what}{more}"


def is_red(attachment: ShownAttachment) -> bool:
    """Return whether it is marked red: while it lasts, where it is live."""
    return attachment.is_live and attachment.state != "ended"


def state_text(attachment: ShownAttachment) -> str:
    """Return what is to be said of the connection; empty while events come."""
    why = f": {_one_line(attachment.detail)}" if attachment.detail else ""
    match attachment.state:
        case "lost":
            since = f"{state_since(attachment).astimezone():%H:%M:%S}"
            return f"lost since {since}{why}; it goes on by itself"
        case "connecting":
            return f"connecting{why}"
        case "ended":
            return f"ended{why}"
    return ""


def line_html(text: str, *, is_live: bool) -> str:
    """Return a line as HTML: white on red where it is of a live attachment."""
    style = f"{SANS};padding:2px 8px;border-radius:4px;margin:2px 0;overflow-wrap:anywhere"
    style += f";{_LIVE_STYLE}" if is_live else f";border:{LINE}"
    name = "live" if is_live else "shadow"
    return f"<div role='note' aria-label='{name}' style='{style}'>{escape(text)}</div>"


def line_in_colours(text: str, *, is_live: bool) -> str:
    """Return a line in the colours of terminals: white on red where it is of a live attachment."""
    return f"{_RED if is_live else _CALM}{text}{_RESET}"


class Marked:
    """A text below the mark of an attachment; without a text, that line alone."""

    def __init__(self, line: str, text: str = "", *, is_live: bool, colours: bool = False) -> None:
        self.line = line
        self.text = text
        self._is_live = is_live
        self._colours = colours

    def as_text(self, *, colours: bool) -> str:
        """Return it as text, in the colours of terminals or in none."""
        line = line_in_colours(self.line, is_live=self._is_live) if colours else self.line
        return f"{line}\n{self.text}" if self.text else line

    def __repr__(self) -> str:
        return self.as_text(colours=self._colours)

    def _repr_html_(self) -> str:
        text = f"<pre style='white-space:pre-wrap'>{escape(self.text)}</pre>" if self.text else ""
        return line_html(self.line, is_live=self._is_live) + text


def short_mark(attachment: ShownAttachment) -> str:
    """Return the mark of what happened while the notebook was attached, such as a trace."""
    if attachment.is_live:
        return f"LIVE at {attachment.url}: what its handlers publish, notify or start is done there"
    return f"in shadow of {attachment.url}: what its handlers would do is written down"


def mark_of_trace(engine: Engine, trace: Trace) -> Marked | None:
    """Return the mark of a trace; None where it is of the time before the notebook was attached."""
    attachment = attachment_of(engine)
    if attachment is None or trace.event.timestamp < attached_since(attachment):
        return None
    return Marked(short_mark(attachment), is_live=attachment.is_live)


# -- what is said of an attachment, below its mark -----------------------------------------------------


def score_text(score: ShownScore) -> str:
    """Return a score in words; what there is none of is left out."""
    parts = ("different", score.different), ("same", score.same), ("pending", score.pending)
    counts = [f"{n:,} {word}" for word, n in (*parts, ("unknown", score.unknown)) if n]
    return ", ".join(counts) or "nothing compared yet"


def summary(attachment: ShownAttachment) -> list[str]:
    """Return what is said of it: the score, what came, and the gaps with their numbers."""
    came = f"{attachment.received:,} received"
    if attachment.skipped:
        came += f", {attachment.skipped:,} skipped"
    if attachment.waiting:
        came += f", {attachment.waiting:,} under way"
    first = "nothing is compared: both do it" if attachment.is_live else score_text(attachment.score)
    trouble = [_one_line(attachment.compare_detail)] if attachment.compare_detail else []
    return [f"{first}; {came}", *trouble, *_gaps(attachment)]


def _gaps(attachment: ShownAttachment) -> Iterator[str]:
    for gap in attachment.gaps[-GAPS_SHOWN:]:
        until = "" if gap.before_seq is None else f" and before #{gap.before_seq}"
        yield f"gap: events after #{gap.after_seq}{until} were missed: {_one_line(gap.detail)}"
    if attachment.gaps_noted > GAPS_SHOWN:
        yield f"and {counted(attachment.gaps_noted - GAPS_SHOWN, 'earlier gap')}"


def _by_worker(score: ShownScore) -> list[tuple[str, ShownScore]]:
    """Return the scores by worker, those that differ most first."""
    return sorted(score.by_worker.items(), key=lambda one: (-one[1].different, one[0]))


# -- as text -------------------------------------------------------------------------------------------


def attached_text(attachment: ShownAttachment, choice: Choice, *, colours: bool = False) -> str:
    """Return what an attachment shows, as text, the newest event last."""
    head = mark_of(attachment)
    if colours:
        head = line_in_colours(head, is_live=is_red(attachment))
    lines = [head, *summary(attachment)]
    by_worker = _by_worker(attachment.score)
    lines += [f"  {name}: {score_text(score)}" for name, score in by_worker[:WORKERS_SHOWN]]
    if len(by_worker) > WORKERS_SHOWN:
        lines.append(f"  and {counted(len(by_worker) - WORKERS_SHOWN, 'more worker')}")
    for row in choice.of(attachment):
        lines += _row_lines(row)
    return "\n".join(lines)


def _row_lines(row: ShownRow) -> Iterator[str]:
    sign, _ = _SIGNS[row.verdict]
    why = f": {_one_line(row.why)}" if row.why and row.verdict != "same" else ""
    yield f"{sign} #{row.event.seq} {_one_line(row.event.kind)}  {row.worker}  {row.verdict}{why}"
    if row.verdict == "same":
        yield from (f"      {line}" for line in _known(row.notebook))
    elif row.verdict != "pending":
        yield from (f"    - {line}" for line in _known(row.deployed))
        yield from (f"    + {line}" for line in _known(row.notebook))


def _known(lines: Sequence[str] | None) -> list[str]:
    """Return the lines of one side, as many as are shown; a word for none."""
    if lines is None:
        return ["(what it did is not known)"]
    return [_one_line(line) for line in lines_of(lines)] or ["(nothing)"]


def _one_line(text: str) -> str:
    """Return text that breaks no line and controls no terminal: another program wrote it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(text.splitlines()))


# -- as HTML -------------------------------------------------------------------------------------------


def attached_html(attachment: ShownAttachment, choice: Choice) -> str:
    """Return what an attachment shows, as HTML without script, the newest event first."""
    rows = choice._replace(last=min(choice.last, HTML_ROWS)).of(attachment)
    body = [
        line_html(mark_of(attachment), is_live=is_red(attachment)),
        f"<div><b>{escape(summary(attachment)[0])}</b></div>",
        *(f"<div>{coloured(escape(line), 'warn')}</div>" for line in summary(attachment)[1:]),
        _workers_html(_by_worker(attachment.score)),
        *map(_row_html, reversed(rows)),
    ]
    if choice.last > HTML_ROWS and len(rows) == HTML_ROWS:
        body.append(f"<div>{HTML_ROWS} rows are stored; print it for all</div>")
    style = f"{SANS};border:{LINE};border-radius:6px;padding:8px 16px;margin:2px 0"
    return f"{SHEET}<div class='dnt' style='{style}' role='group' aria-label='attached'>{''.join(body)}</div>"


def _workers_html(scores: Sequence[tuple[str, ShownScore]]) -> str:
    if not scores:
        return ""
    names = ("different", "same", "pending", "unknown")
    heads = "".join(f"<th style='text-align:left'>{name}</th>" for name in ("worker", *names))
    rows = []
    for worker, score in scores[:WORKERS_SHOWN]:
        counts = [getattr(score, name) for name in names]
        cells = [coloured(f"{n:,}", "bad") if n and not at else f"{n:,}" for at, n in enumerate(counts)]
        row = "".join(f"<td style='text-align:left'>{cell}</td>" for cell in (escape(worker), *cells))
        rows.append(f"<tr>{row}</tr>")
    more = len(scores) - WORKERS_SHOWN
    rest = f"<div>and {counted(more, 'more worker')}</div>" if more > 0 else ""
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>{rest}"


def _row_html(row: ShownRow) -> str:
    sign, colour = _SIGNS[row.verdict]
    title = (
        f"#{row.event.seq} <b>{escape(_one_line(row.event.kind))}</b> {coloured(escape(row.worker), 'mu')}"
    )
    why = (
        f"<div>{coloured(escape(_one_line(row.why)), colour)}</div>"
        if row.why and row.verdict != "same"
        else ""
    )
    head = f"<div style='padding-top:6px'>{coloured(sign, colour, title=row.verdict)} {title}</div>{why}"
    if row.verdict == "pending":
        return head
    differs = row.verdict == "different"
    left = _side("deployed", _known(row.deployed), row.notebook if differs else None, ("-", "bad"))
    right = _side("notebook", _known(row.notebook), row.deployed if differs else None, ("+", "ok"))
    return f"{head}<div style='display:flex;flex-wrap:wrap;gap:0 12px'>{left}{right}</div>"


def _side(name: str, lines: Sequence[str], others: Sequence[str] | None, how: tuple[str, str]) -> str:
    """Return one side; lines that the other one lacks are marked where both differ."""
    sign, kind = how
    alone = _alone(lines, [_one_line(one) for one in lines_of(others)]) if others is not None else set()
    rows = "".join(
        block_row(sign if at in alone else " ", escape(line, quote=False), kind if at in alone else "")
        for at, line in enumerate(lines)
    )
    title = coloured(f"{name}: ", "mu")
    style = f"margin:0;flex:1 1 280px;min-width:0;white-space:pre-wrap;overflow-wrap:anywhere;{MONO}"
    return f"<div style='flex:1 1 280px;min-width:0'>{title}<pre style='{style}'>{rows}</pre></div>"


def _alone(lines: Iterable[str], others: Iterable[str]) -> set[int]:
    """Return the places of lines that the others lack."""
    left, alone = Counter(others), set()
    for at, line in enumerate(lines):
        if left[line]:
            left[line] -= 1
        else:
            alone.add(at)
    return alone


class Attached:
    """What an attachment shows now, as text and as HTML: in a terminal, and once it has ended."""

    def __init__(self, attachment: ShownAttachment, choice: Choice, *, colours: bool = False) -> None:
        self.attachment = attachment
        self._choice = choice
        self._colours = colours

    def __repr__(self) -> str:
        return attached_text(self.attachment, self._choice, colours=self._colours)

    def _repr_html_(self) -> str:
        return attached_html(self.attachment, self._choice)
