"""`Table` and the tables of workers, as text in a terminal and HTML in a notebook; used by magics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape

from dnworker.core.clock import Clock
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import WorkerState
from dnworker.core.topology import SILENT
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.silence import why_silent
from dnworker_jupyter.display.attached import Marked
from dnworker_jupyter.display.html import SHEET, coloured
from dnworker_jupyter.live.stale import Stale, label
from dnworker_jupyter.live.worker import LiveWorker

WORKER_VERBS = ("start", "stop", "restart", "rollback", "remove", "logs", "topology", "state", "resume")


class Table:
    """Rows under headings, as text and as HTML; a title above them, a note below."""

    def __init__(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        empty: str = "nothing yet",
        *,
        title: str = "",
        note: str = "",
        bad: Collection[int] = (),
    ) -> None:
        """`bad` are the numbers of the rows that are marked as failed."""
        self.headings = list(headings)
        self.rows = [list(row) for row in rows]
        self.empty = empty
        self.title = title
        self.note = note
        self.bad = frozenset(bad)
        self.mark: Marked | None = None
        """The line above it, where the notebook is attached to another runtime."""

    def __repr__(self) -> str:
        mark = "" if self.mark is None else repr(self.mark)
        return "\n".join(filter(None, [mark, self.title, self._text(), self.note]))

    def _text(self) -> str:
        if not self.rows:
            return self.empty
        table = [self.headings, *self.rows]
        if self.bad:
            table = [["" if not n else "x" if n - 1 in self.bad else "", *row] for n, row in enumerate(table)]
        widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table
        )

    def _repr_html_(self) -> str:
        above = "" if self.mark is None else self.mark._repr_html_()
        above += f"<p>{escape(self.title)}</p>" if self.title else ""
        below = f"<p>{escape(self.note)}</p>" if self.note else ""
        if not self.rows:
            return f"{above}<p>{escape(self.empty)}</p>{below}"
        head = "".join(f"<th style='text-align:left'>{escape(h)}</th>" for h in self.headings)
        cell = "<td style='text-align:left;vertical-align:top;white-space:pre-wrap'>{}</td>"
        rows = enumerate(self.rows)
        body = "".join(f"<tr>{''.join(map(cell.format, self._cells(n, row)))}</tr>" for n, row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"{SHEET if self.bad else ''}<div class='dnt'>{above}{table}{below}</div>"

    def _cells(self, number: int, row: Sequence[str]) -> Iterator[str]:
        """Yield the cells of a row as HTML; one that has failed has a mark before it, and is red."""
        if number not in self.bad:
            yield from map(escape, row)
            return
        yield coloured(f"✗ {escape(row[0])}", "bad", title="failed")
        yield from (coloured(escape(text), "bad") if text else "" for text in row[1:])


class Note:
    """A text that is displayed as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def workers_table(workers: list[ManagedWorker]) -> Table:
    """Return the table that `%worker` shows."""
    rows = []
    for worker in workers:
        stats = worker.stats.values()

        rows.append(
            [
                worker.qualified_name,
                str(worker.state),
                worker.topology_label,
                str(worker.generation),
                str(sum(one.calls for one in stats)),
                str(sum(one.errors for one in stats)),
                str(worker.restarts),
                worker.error or worker.losses or worker.last_handler_error or silent_note(worker),
            ]
        )
    headings = ["worker", "state", "topology", "generation", "calls", "errors", "restarts", "last error"]
    bad = [n for n, worker in enumerate(workers) if has_failed(worker)]
    return Table(headings, rows, "no workers yet; define one in a %%worker cell", bad=bad)


def has_failed(worker: ManagedWorker) -> bool:
    """Return whether a worker is in error, or the last call of one of its handlers failed."""
    return worker.state is WorkerState.ERROR or any(one.is_failing for one in worker.stats.values())


def handler_origins(live: LiveWorker, stale: Iterable[Stale]) -> dict[HandlerKey, str]:
    """Return the cell that each handler of a live worker is from, and why it is stale where it is."""
    reasons = {one.handler.key: one.why for one in stale}
    return {handler.key: label(cell, reasons.get(handler.key)) for handler, cell in live.handlers()}


def worker_table(
    managed: ManagedWorker,
    origins: Mapping[HandlerKey, str],
    clock: Clock,
    stale: Sequence[Stale] = (),
    tries: Sequence[str] = (),
) -> Table:
    """Return the table that `%worker NAME` shows: every handler, its cell from `origins`, and its stats.

    Below stand why handlers are `stale`, and what is tried again.
    """
    upcoming = managed.next_runs
    rows = []
    for key, stats in managed.stats.items():
        when = upcoming.get(key)
        rows.append(
            [
                f"{key.decorator} {key.trigger}".strip(),
                key.name,
                origins.get(key, ""),
                str(stats.calls),
                str(stats.errors),
                str(stats.missed) if key.decorator == "every" else "",
                until(clock, when) if when is not None else "",
                str(stats.last_error) if stats.last_error else "",
            ]
        )
    for key, origin in origins.items():
        if key not in managed.stats:
            rows.append([f"{key.decorator} {key.trigger}".strip(), key.name, origin, "0", "0", "", "", ""])
    headings = ["registered for", "handler", "from", "calls", "errors", "missed", "next run", "last error"]
    why = f": {managed.error.partition(chr(10))[0]}" if managed.error else ""
    wayout = f"; %worker restart {managed.name}" if managed.state is WorkerState.ERROR else ""
    how = f"{managed.topology_label}, generation {managed.generation}"
    title = f"{managed.qualified_name} is {managed.state}, {how}{why}{wayout}"
    note = "\n".join([*(one.text for one in stale), *tries])
    bad = [n for n, one in enumerate(managed.stats.values()) if one.is_failing]
    empty = silent_note(managed) or "no handlers"
    return Table(headings, rows, empty, title=title, note=note, bad=bad)


def silent_note(worker: ManagedWorker) -> str:
    """Return that a worker runs without reporting, and why; empty where it reports."""
    why = why_silent(worker)
    return "" if why is None else f"{SILENT}: {why}"


def until(clock: Clock, when: datetime) -> str:
    """Return a future time as text: `14:00:00 (in 2 min)`."""
    day = "" if when.date() == clock.now().date() else f"{when:%Y-%m-%d} "
    return f"{day}{when:%H:%M:%S} (in {span((when - clock.now()).total_seconds())})"


def span(seconds: float) -> str:
    """Return a length of time in its largest fitting unit."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 1 or not seconds else f"{seconds * 1000:.0f} ms"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return str(timedelta(seconds=round(seconds)))
