"""`Scores`: what a function makes of each event that was fired again, as a table with bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from statistics import fmean

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.short_values import short_value
from dnworker.core.text import shorten
from dnworker.events.trace import Trace
from dnworker_jupyter.display.html import BAD_FILL, OK_FILL, SHEET, coloured

ONLY = "score"
"""The name of a number that has none of its own."""

PAYLOAD = 60
"""Characters of a payload that a row shows."""

BAR = 10
"""Characters of a bar in text."""

ROWS_SHOWN = 500
"""Rows that are stored in the notebook; the object has all."""


class Score(msgspec.Struct, frozen=True):
    """What became of one event.

    Attributes:
        event: the recorded event.
        trace: what it caused, fired again.
        values: numbers by name; empty where there are none.
        problem: why there are none; None where nothing is wrong.
    """

    event: EventEnvelope
    trace: Trace
    values: Mapping[str, float] = msgspec.field(default_factory=dict)
    problem: str | None = None


class Scores:
    """The scores of several events.

    Args:
        rows: one `Score` an event.
        against: those of an earlier evaluation, to compare with; what it fired counts as its events.
    """

    def __init__(self, rows: Sequence[Score], against: Scores | None = None) -> None:
        self.rows = list(rows)
        # `last 50` names, the second time, what the first evaluation has fired.
        earlier = [] if against is None else against.rows
        self._before = {event.event_id: row for row in earlier for event in (row.trace.event, row.event)}

    @property
    def names(self) -> list[str]:
        """The names of the numbers, in the order of their first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each number, over the events that have it."""
        return {name: fmean(self._column(name)) for name in self.names}

    @property
    def failed(self) -> list[Score]:
        """Those of which the function made no number, or whose handlers failed."""
        return [row for row in self.rows if row.problem is not None or not row.trace.ok]

    def worst(self, count: int = 5, name: str | None = None) -> list[Score]:
        """Return the events with the lowest numbers, the lowest first.

        Raises:
            KeyError: there is no number of this name.
        """
        name = name or (self.names[0] if self.names else ONLY)
        if name not in self.names:
            raise KeyError(f"no number is named {name!r}; there are: {', '.join(self.names) or 'none'}")
        return sorted((row for row in self.rows if name in row.values), key=lambda row: row.values[name])[
            :count
        ]

    def dicts(self) -> list[dict[str, object]]:
        """Return one flat dict an event, as `pandas.DataFrame` takes them."""
        return [
            {"seq": row.event.seq, "kind": row.event.kind, "ok": row.trace.ok, "problem": row.problem}
            | dict(row.values)
            for row in self.rows
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Score]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Score:
        return self.rows[index]

    # -- in words --------------------------------------------------------------------------------------

    def _column(self, name: str) -> list[float]:
        return [row.values[name] for row in self.rows if name in row.values]

    def summary(self) -> list[str]:
        """Return the lines above the table: of each number the mean, the lowest and what has changed."""
        scored = sum(1 for row in self.rows if row.values)
        lines = [
            f"{scored} of {len(self.rows)} {'event has' if len(self.rows) == 1 else 'events have'} a score"
        ]
        for name in self.names:
            column = self._column(name)
            line = f"{name}: mean {fmean(column):.3g}, lowest {min(column):.3g}, highest {max(column):.3g}"
            lines.append(line + self._change(name))
        wrong = sum(1 for row in self.rows if not row.trace.ok)
        if wrong:
            lines.append(f"{wrong} {'event' if wrong == 1 else 'events'} ended not ok; a trace says why")
        return lines

    def _change(self, name: str) -> str:
        """Return how a number is against that of before, over the events that both have."""
        if not self._before:
            return ""
        pairs = [
            (before, row.values[name]) for row in self.rows if (before := self._former(row, name)) is not None
            if name in row.values
        ]  # fmt: skip
        if not pairs:
            return "; no event has one from before"
        change = fmean(now - before for before, now in pairs)
        better = sum(now > before for before, now in pairs)
        worse = sum(now < before for before, now in pairs)
        return f"; {change:+.3g} against before ({better} better, {worse} worse, {len(pairs)} compared)"

    def _former(self, row: Score, name: str) -> float | None:
        before = self._before.get(row.event.event_id)
        return None if before is None else before.values.get(name)

    def _headings(self) -> list[str]:
        return ["event", "kind", "payload", *self.names, "what is wrong"]

    def _left(self, row: Score) -> list[str]:
        payload = shorten(short_value(dict(row.event.payload)), PAYLOAD)
        return [f"#{row.event.seq}", row.event.kind, payload]

    def _number(self, row: Score, name: str) -> str:
        """Return a number, and how it was before where that differs; an empty text where there is none."""
        if (value := row.values.get(name)) is None:
            return ""
        before = self._former(row, name)
        return f"{value:.3g}" if before is None or before == value else f"{before:.3g} → {value:.3g}"

    def _problem(self, row: Score) -> str:
        if row.problem is not None:
            return row.problem
        return "" if row.trace.ok else f"the event ended {row.trace.outcome}"

    def _share(self, row: Score, name: str) -> float:
        """Return how long a bar is, between 0 and 1: of the range of the column, which has 0 and 1 in it."""
        column = self._column(name)
        low, high = min(0.0, *column), max(1.0, *column)
        return (row.values[name] - low) / (high - low)

    def __repr__(self) -> str:
        table = [self._headings()]
        for row in self.rows:
            bars = [
                "" if name not in row.values
                else f"{'█' * round(self._share(row, name) * BAR):<{BAR}} {self._number(row, name)}"
                for name in self.names
            ]  # fmt: skip
            table.append([*self._left(row), *bars, self._problem(row)])
        table = [[" ".join(cell.splitlines()) for cell in row] for row in table]
        widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
        rows = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table)
        return "\n".join([*self.summary(), *rows])

    # -- as HTML ---------------------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        summary = "".join(f"<div>{escape(line)}</div>" for line in self.summary())
        head = "".join(f"<th style='text-align:left'>{escape(h)}</th>" for h in self._headings())
        body = "".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows[:ROWS_SHOWN])
        more = len(self.rows) - ROWS_SHOWN
        rest = f"<div>{more:,} more rows are not stored; print the scores for all</div>" if more > 0 else ""
        return (
            f"{SHEET}<div class='dnt' role='group' aria-label='scores'>{summary}"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}</div>"
        )

    def _cells(self, row: Score) -> str:
        cell = "<td style='text-align:left;vertical-align:top;white-space:pre-wrap'>{}</td>"
        cells = [escape(text) for text in self._left(row)]
        cells += [self._bar(row, name) for name in self.names]
        problem = self._problem(row)
        cells.append(coloured(f"✗ {escape(problem)}", "bad") if problem else "")
        return "".join(map(cell.format, cells))

    def _bar(self, row: Score, name: str) -> str:
        """Return a number over a bar, which is red where it is lower than before."""
        if name not in row.values:
            return ""
        before = self._former(row, name)
        fill = BAD_FILL if before is not None and row.values[name] < before else OK_FILL
        width = round(self._share(row, name) * 100)
        bar = f"<div style='height:4px;width:{width}px;background-color:{fill}'></div>"
        return f"{escape(self._number(row, name))}<div style='width:100px'>{bar}</div>"
