"""`RunIndex`: which events belong to which run, with a row each; kept up while some view looks at runs."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope, is_noise
from dnworker.events.trace import STREAMED
from dnworker.panel.run_rows import Run, empty_row, row_of
from dnworker.panel.unheard import Unheard

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.panel.pace import Pace

DROPPED_REMEMBERED = 20_000
RUNNING_LOOKED_AT = 50
"""Runs that wait or run and are looked at again although nothing was heard of them."""

KINDS_KEPT = 50
"""Kinds of one run that a filter finds it by."""

COST_FACTOR = 10
"""A run whose row takes long to make is looked at again after ten times that."""


SHOWN_KEPT = 8


class Shown(NamedTuple):
    """A run as it was sent last: of which revision, and when it may be made again, in seconds."""

    revision: int
    until: float
    value: dict[str, Any]


class RunIndex:
    """The runs that the history has, in the order of their first events.

    It costs nothing until it is looked at: then it reads the history, and goes on by what is noted.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.revision = 0
        self.runs: dict[str, Run] = {}
        """By the id of the first event."""
        self.dropped: deque[tuple[int, str]] = deque(maxlen=DROPPED_REMEMBERED)
        """Revision and id of the runs that are kept no more, the latest last."""
        self.shown: OrderedDict[str, Shown] = OrderedDict()
        """The runs that views look at, by the id of the first event."""
        self._root_of: dict[str, str] = {}
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._noted: set[str] = set()
        self._unfinished: dict[str, float] = {}
        self._newest = 0
        self._is_followed = False
        self._is_busy = False
        self._unheard = Unheard(engine)
        self._why: dict[str, str | None] = {}
        """By kind, why nobody ran, as far as this look has found out: it asks every worker."""

    def note(self, event_id: str) -> None:
        """Note that an event is new, or that what it caused has changed; costs nothing while nobody looks."""
        if self._is_followed:
            self._noted.add(event_id)

    def forget(self) -> None:
        """Forget everything: nobody looks."""
        self.runs.clear()
        self.dropped.clear()
        self.shown.clear()
        self._root_of.clear()
        self._changed.clear()
        self._noted.clear()
        self._unfinished.clear()
        self._newest, self._is_followed = 0, False
        self.revision += 1

    def root_of(self, event_id: str) -> str:
        """Return the id of the first event of a run, by any event of it."""
        causes, history = self._engine.history.causes, self._engine.history
        while (above := causes.above(event_id)) is not None and history.event(above) is not None:
            event_id = above
        return event_id

    def keep(self, run_id: str, shown: Shown) -> None:
        """Keep a run as it was sent, for the next look and other views."""
        self.shown[run_id] = shown
        self.shown.move_to_end(run_id)
        if len(self.shown) > SHOWN_KEPT:
            self.shown.popitem(last=False)

    def why_unheard(self, kind: str) -> str | None:
        """Return who would have run for a kind, and why not; None if nobody would."""
        return self._unheard.why(kind)

    def _why_of(self, kind: str) -> str | None:
        if kind not in self._why:
            self._why[kind] = self._unheard.why(kind)
        return self._why[kind]

    def changed_since(self, revision: int) -> Iterator[Run]:
        """Go through the runs whose rows have changed, the latest change first."""
        for run_id, at in reversed(self._changed.items()):
            if at <= revision:
                return
            yield self.runs[run_id]

    async def sync(self, pace: Pace) -> None:
        """Bring all rows up to date; while another view does so, it returns at once."""
        if self._is_busy:
            return
        self._is_busy = True
        try:
            self._why.clear()
            await self._take_new(pace)
            await pace.rest()
            await self._drop_old(pace)
            looked_at = self._to_look_at()
            await pace.rest()
            for run_id in looked_at:
                if (run := self.runs.get(run_id)) is not None:
                    await self._look_at(run, pace)
        finally:
            self._is_busy = False

    async def _take_new(self, pace: Pace) -> None:
        self._is_followed = True
        latest = self._engine.bus.latest_seq
        count = min(latest - self._newest, self._engine.history.kept)
        for event in self._engine.history.events(count):
            if event.event_id not in self._root_of and event.seq > self._newest:
                self._take(event)
                await pace.rest()
        self._newest = max(self._newest, latest)

    def _take(self, event: EventEnvelope) -> None:
        above = self._engine.history.causes.above(event.event_id)
        run = self.runs.get(self._root_of.get(above or "", ""))
        if run is None:
            run = self.runs[event.event_id] = Run(
                id=event.event_id,
                seq=event.seq,
                kind=event.kind,
                session=event.session_id,
                at=event.timestamp.timestamp() * 1000,
                is_own=is_noise(event.kind) or event.kind == STREAMED,
                kinds={},
                workers={},
                row=empty_row(event, self._engine.history),
            )
        run.add(event.event_id)
        if len(run.kinds) < KINDS_KEPT:
            run.kinds[event.kind] = None
        self._root_of[event.event_id] = run.id
        self._noted.add(event.event_id)

    async def _drop_old(self, pace: Pace) -> None:
        """Drop the runs whose first event the history has dropped."""
        history, gone = self._engine.history, []
        for run_id in self.runs:
            if history.event(run_id) is not None:
                break
            gone.append(run_id)
        for run_id in gone:
            if (run := self.runs.pop(run_id, None)) is None:
                continue  # all was forgotten meanwhile
            self.revision += 1
            self.dropped.append((self.revision, run_id))
            self._changed.pop(run_id, None)
            self._unfinished.pop(run_id, None)
            for event_id in run.events:
                self._root_of.pop(event_id, None)
            await pace.rest()

    def dropped_since(self, revision: int) -> list[str]:
        """Return the ids of the runs that are kept no more, the latest last."""
        newer = takewhile(lambda one: one[0] > revision, reversed(self.dropped))
        return [run_id for _, run_id in newer][::-1]

    def _to_look_at(self) -> list[str]:
        """Return the runs that may have changed; those whose rows take long wait for their time."""
        noted, self._noted = self._noted, set()
        found = {self._root_of[event_id]: None for event_id in noted if event_id in self._root_of}
        for run_id in islice(self._unfinished, RUNNING_LOOKED_AT):
            found.setdefault(run_id)
        now = time.monotonic()
        late = [run_id for run_id in found if self._unfinished.get(run_id, 0.0) > now]
        for run_id in late:
            del found[run_id]
            self._noted.add(run_id)
        return [*found]

    async def _look_at(self, run: Run, pace: Pace) -> None:
        history = self._engine.history
        event = history.event(run.id)
        if event is None:
            return
        began = time.process_time()
        row = await row_of(run, event, history, pace)
        if self.runs.get(run.id) is not run:
            return  # all was forgotten meanwhile
        self._unfinished.pop(run.id, None)
        if row.outcome == "running" or row.duration is None:
            took = time.process_time() - began
            pause = took * COST_FACTOR if took > 0.005 else 0.0
            self._unfinished[run.id] = time.monotonic() + pause
        if row.outcome == "none" and not run.is_own:
            row = replace(row, why=self._why_of(run.kind))
            await pace.rest()
            if self.runs.get(run.id) is not run:
                return
        if row != run.row or not run.revision:
            self.revision += 1
            run.row, run.revision = row, self.revision
            self._changed[run.id] = self.revision
            self._changed.move_to_end(run.id)
