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
from dnworker.panel.epoch import Epoch
from dnworker.panel.run_rows import Run, empty_row, row_of
from dnworker.panel.unheard import NotRunning, Unheard

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

HEARD_KEPT = 20_000
"""Events of which is kept when they were heard of."""

CLOCKS_DIFFER = 1_000.0
"""Milliseconds by which a timestamp may be ahead of the machine's clock that is from it."""


class Shown(NamedTuple):
    """A run as it was sent last: of which revision and notes, and when it may be made again, in seconds."""

    revision: int
    notes: int
    until: float
    value: dict[str, Any]


class RunIndex:
    """The runs that the history has, in the order of their first events.

    It costs nothing until it is looked at: then it reads the history, and goes on by what is noted.

    Args:
        engine: has the history.
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
        self._run_of: dict[str, Run] = {}
        """By the id of each of its events."""
        self._heard: dict[str, float] = {}
        """By id, when an event was heard of in ms since 1970, while the runtime's clock is virtual."""
        self._epoch = Epoch()
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._noted: set[str] = set()
        self._unfinished: dict[str, float] = {}
        self._newest = 0
        self._is_followed = False
        self._is_busy = False
        self._unheard = Unheard(engine)
        self._not_running: NotRunning | None = None

    def note(self, event_id: str) -> None:
        """Note that an event is new, or that what it caused has changed; costs nothing while nobody looks."""
        if not self._is_followed:
            return
        self._noted.add(event_id)
        if self._engine.clock.can_advance and event_id not in self._run_of:
            self._heard.setdefault(event_id, time.time() * 1000)

    def forget(self) -> None:
        """Forget everything: nobody looks."""
        self.runs.clear()
        self.dropped.clear()
        self.shown.clear()
        self._run_of.clear()
        self._heard.clear()
        self._changed.clear()
        self._noted.clear()
        self._unfinished.clear()
        self._newest, self._is_followed = 0, False
        self.revision += 1

    def root_of(self, event_id: str) -> str:
        """Return the id of the first event of a run that is kept, by any event of it."""
        causes, history = self._engine.history.causes, self._engine.history
        while (run := self._run_of.get(event_id)) is None:
            if (above := causes.above(event_id)) is None or history.event(above) is None:
                return event_id
            event_id = above
        return run.id

    def at_of(self, event: EventEnvelope) -> float:
        """Return when an event happened in ms since 1970 by the machine's clock, as far as that is known.

        Its timestamp is by the runtime's clock, which may be virtual: then the moment at which it was heard
        of counts, else that of its first call, else now.
        """
        now, stamp = time.time() * 1000, event.timestamp.timestamp() * 1000
        if (heard := self._heard.get(event.event_id)) is not None:
            return heard
        if not self._engine.clock.can_advance and stamp <= now + CLOCKS_DIFFER:
            return stamp
        calls = self._engine.history.invocations_of(event.event_id)
        began = min((call.started_at for call in calls), default=None)
        return now if began is None else min(now, (began + self._epoch.read()) * 1000)

    def keep(self, run_id: str, shown: Shown) -> None:
        """Keep a run as it was sent, for the next look and other views."""
        self.shown[run_id] = shown
        self.shown.move_to_end(run_id)
        if len(self.shown) > SHOWN_KEPT:
            self.shown.popitem(last=False)

    async def not_running(self, pace: Pace) -> NotRunning:
        """Look who does not run that would have heard something; one look answers for all events."""
        return await self._unheard.look(pace)

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
        self._not_running = None  # what is so now
        try:
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
            if event.event_id not in self._run_of and event.seq > self._newest:
                self._take(event)
                await pace.rest()
        self._newest = max(self._newest, latest)
        if len(self._heard) > HEARD_KEPT:
            self._heard.clear()  # of events that were dropped before they were taken

    def _take(self, event: EventEnvelope) -> None:
        above = self._engine.history.causes.above(event.event_id)
        run = self._run_of.get(above or "")
        if run is None:
            run = self.runs[event.event_id] = Run(
                id=event.event_id,
                seq=event.seq,
                kind=event.kind,
                session=event.session_id,
                at=(at := self.at_of(event)),
                is_own=_is_own(event.kind),
                kinds={},
                workers={},
                row=empty_row(event, self._engine.history, at),
            )
        run.add(event.event_id)
        if len(run.kinds) < KINDS_KEPT:
            run.kinds[event.kind] = None
        self._run_of[event.event_id] = run
        self._heard.pop(event.event_id, None)
        self._noted.add(event.event_id)

    async def _drop_old(self, pace: Pace) -> None:
        """Drop what the history has dropped; a run goes on at the oldest event of it that is kept."""
        history, gone = self._engine.history, []
        for run_id in self.runs:
            if history.event(run_id) is not None:
                break
            gone.append(run_id)
        is_moved = False
        for run_id in gone:
            if (run := self.runs.pop(run_id, None)) is None:
                continue  # all was forgotten meanwhile
            self.revision += 1
            self.dropped.append((self.revision, run_id))
            self._changed.pop(run_id, None)
            self._unfinished.pop(run_id, None)
            for event_id in run.events:
                if history.event(event_id) is not None:
                    self._move(run, event_id)
                    is_moved = True
                    break
                self._run_of.pop(event_id, None)
            await pace.rest()
        if is_moved:
            self.runs = {run.id: run for run in sorted(self.runs.values(), key=lambda run: run.seq)}

    def _move(self, run: Run, event_id: str) -> None:
        """Let a run begin at a later event of it, as the history has dropped those before."""
        event = self._engine.history.event(event_id)
        assert event is not None
        run.events = run.events[run.events.index(event_id) :]
        run.id, run.seq, run.kind, run.session = event_id, event.seq, event.kind, event.session_id
        run.is_own = _is_own(event.kind)
        if not self._engine.clock.can_advance:
            run.at = self.at_of(event)
        run.row, run.revision = empty_row(event, self._engine.history, run.at), 0
        self.runs[event_id] = run
        self._noted.add(event_id)

    def dropped_since(self, revision: int) -> list[str]:
        """Return the ids of the runs that are kept no more, the latest last."""
        newer = takewhile(lambda one: one[0] > revision, reversed(self.dropped))
        return [run_id for _, run_id in newer][::-1]

    def _to_look_at(self) -> list[str]:
        """Return the runs that may have changed; those whose rows take long wait for their time."""
        noted, self._noted = self._noted, set()
        found = {self._run_of[event_id].id: None for event_id in noted if event_id in self._run_of}
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
        row = await row_of(run, event, history, self._engine.dead_letters, pace)
        if self.runs.get(run.id) is not run:
            return  # all was forgotten meanwhile
        self._unfinished.pop(run.id, None)
        if row.outcome == "running" or row.duration is None:
            took = time.process_time() - began
            pause = took * COST_FACTOR if took > 0.005 else 0.0
            self._unfinished[run.id] = time.monotonic() + pause
        if row.outcome == "none" and not run.is_own:
            if self._not_running is None:
                self._not_running = await self.not_running(pace)
            row = replace(row, why=self._not_running.why(run.kind))
            if self.runs.get(run.id) is not run:
                return
        if row != run.row or not run.revision:
            self.revision += 1
            run.row, run.revision = row, self.revision
            self._changed[run.id] = self.revision
            self._changed.move_to_end(run.id)


def _is_own(kind: str) -> bool:
    """Return whether the runtime publishes a kind about itself."""
    return is_noise(kind) or kind == STREAMED
