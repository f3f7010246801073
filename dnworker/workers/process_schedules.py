"""`ProcessSchedules`: what schedules of one worker process have missed while no runtime was there.

The process runs them itself: at its spawn it is told which are to run at once, and
its reports say when each has run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from dnworker.core.errors import BrokerError
from dnworker.core.handlers import HandlerKey
from dnworker.core.stats import HandlerStats
from dnworker.workers import reports
from dnworker.workers.last_runs import LastRuns, Missed
from dnworker.workers.standalone import RUN_SCHEDULES

log = logging.getLogger("dnworker.schedules")


class ProcessSchedules:
    """The schedules of one worker process, over its starts.

    Args:
        last_runs: remembers when schedules ran.
        worker: its qualified name.
    """

    def __init__(self, last_runs: LastRuns, worker: str) -> None:
        self._last_runs = last_runs
        self._worker = worker
        self._owed: Mapping[HandlerKey, Missed | None] = {}

    async def look(self) -> None:
        """Look up what was missed; called before each spawn."""
        try:
            self._owed = await self._last_runs.owed(self._worker)
        except BrokerError as exc:
            self._owed = {}
            log.warning("what schedules of %s have missed cannot be read: %s", self._worker, exc)

    def variables(self) -> dict[str, str]:
        """Return what tells the process which schedules run at once."""
        keys = [key for key, missed in self._owed.items() if missed is not None]
        return (
            {RUN_SCHEDULES: msgspec.json.encode(keys).decode()} if keys and self._last_runs.makes_up else {}
        )

    def take(self, report: reports.Report, stats: Mapping[HandlerKey, HandlerStats]) -> None:
        """Note which schedules the process has, or that one of them runs."""
        match report:
            case reports.Hello():
                for key in stats:
                    if key.decorator == "every":
                        self._begin_with(key, stats[key])
            case reports.Begin(cause="schedule", key=key) | reports.Ran(cause="schedule", key=key):
                self._last_runs.note_run(self._worker, key)

    def _begin_with(self, key: HandlerKey, stats: HandlerStats) -> None:
        is_known, missed = key in self._owed, self._owed.get(key)
        makes_up = missed is not None and self._last_runs.makes_up
        # What is made up for counts once it runs: the next start tries again.
        is_new = not is_known or (missed is not None and not makes_up)
        if not self._last_runs.begin_with(self._worker, key, is_new=is_new) or missed is None:
            return
        stats.missed += missed.times - makes_up
        if makes_up:
            self._last_runs.tell_made_up(self._worker, key.name, missed)
