"""`WorkerChanges`: what a view was sent of the workers, and what is new; each fill of a `view` has one."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from dnworker.panel import serialize
from dnworker.panel.budget import BYTES_PER_SECOND, size_of

if TYPE_CHECKING:
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace
    from dnworker.workers.managed import ManagedWorker

STATS_INTERVAL = 0.5
"""Seconds between two messages of stats; what changes a worker's state is sent at once."""

ALL_INTERVAL = 5.0
"""Seconds between two looks at every worker; in between, only at those that have done something."""

AT_ONCE = 100
"""Rows that have changed and are sent at once; the others follow with the next updates, a tenth of a second
later: neither the loop nor a page takes a thousand rows without a jerk."""

MINUTE = 61.0
"""Seconds for which the stats of a worker change after it has done something: they have its last minute."""


class WorkerChanges:
    """What one view was sent of the workers since it was filled.

    A thousand workers take longer to look at than the loop may stand still, so each look gives the loop its
    turn, and only what can have changed is looked at.
    """

    def __init__(self, model: PanelModel) -> None:
        self._model = model
        # By name: what is sent at once, and all of it, which waits for its turn.
        self._briefs: dict[str, object] = {}
        self._sent: dict[str, object] = {}
        self._revision: int | None = None
        # When it looked last, in seconds. The interval is read now, not at import: a test sets it to 0.
        self._stats_at = 0.0
        self._all_at = 0.0
        self._interval = STATS_INTERVAL
        # The workers that this look is not through with, the next one last, and the bytes of the others.
        self._left: list[str] = []
        self._bytes = 0
        self.is_behind = False
        """Whether stats may have changed that are not sent yet."""

    async def take(self, pace: Pace) -> dict[str, Any] | None:
        """Return the workers in their order and those that are new or have changed; None if nothing has."""
        model, is_first = self._model, self._revision is None
        now = time.monotonic()
        is_due = bool(self._left) or now - self._stats_at >= self._interval
        changed: dict[str, object] = {}
        order_is_new = False
        if model.workers_revision != self._revision:
            self._revision = model.workers_revision
            order_is_new = await self._look_at_states(changed, pace)
        if is_due:
            await self._look_at_stats(changed, now, pace, most=math.inf if is_first else AT_ONCE)
        self.is_behind = bool(self._left) or not is_due
        if not changed and not order_is_new and not is_first:
            return None
        return {"order": [*self._briefs], "changed": [*changed.values()]}

    async def _look_at_states(self, changed: dict[str, object], pace: Pace) -> bool:
        """Add the workers whose state has changed; returns whether workers came, went or moved."""
        model, before = self._model, self._briefs
        briefs: dict[str, object] = {}
        for worker in model.engine.workers():
            name = worker.qualified_name
            brief = serialize.worker_brief(worker), model.gate(worker), model.storm_of(worker)
            briefs[name] = brief
            if brief != before.get(name):
                self._add(worker, changed)
            await pace.rest()
        self._briefs = briefs
        is_new = [*briefs] != [*before]
        if is_new:
            self._sent = {name: self._sent[name] for name in briefs}
        return is_new

    async def _look_at_stats(
        self, changed: dict[str, object], now: float, pace: Pace, *, most: float
    ) -> None:
        """Add some of the workers whose stats have changed; all looks take a quarter of a view's bytes."""
        if not self._left:
            self._left = self._to_look_at(now)[::-1]
        workers = {worker.qualified_name: worker for worker in self._model.engine.workers()}
        found = 0
        while self._left and found < most:
            name = self._left.pop()
            if name in self._briefs and name in workers and self._add(workers[name], changed):
                found += 1
                self._bytes += size_of(changed[name])
            await pace.rest()
        if not self._left:
            self._interval = max(STATS_INTERVAL, self._bytes * 4 / BYTES_PER_SECOND)
            self._bytes = 0

    def _to_look_at(self, now: float) -> list[str]:
        """Return the workers whose stats may have changed since the last look."""
        since, self._stats_at = self._stats_at, now
        names = [worker.qualified_name for worker in self._model.engine.workers()]
        if now - self._all_at >= min(ALL_INTERVAL, self._interval * 10):
            self._all_at = now
            return names
        busy = self._model.busy_since(since - MINUTE)
        return [name for name in names if name in busy]

    def _add(self, worker: ManagedWorker, changed: dict[str, object]) -> bool:
        """Add a worker if it is not as it was sent; returns whether it is."""
        name, found = worker.qualified_name, self._model.worker_to_json(worker)
        if found == self._sent.get(name):
            return False
        self._sent[name] = changed[name] = found
        return True
