"""The part `runs`: the list of runs as one view sees it, sent as rows that changed."""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.errors import UsageError
from dnworker.panel.run_rows import SEGMENTS, Matcher, Run, RunFilter, Segment, as_json

if TYPE_CHECKING:
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

INTERVAL = 0.4
"""Seconds between two updates of a list."""

ROWS_AT_ONCE = 100
"""Rows that are sent at once; of more that changed, the newest are sent, and the view begins anew."""

OLDER_AT_ONCE = 200


def filter_of(wanted: dict[str, Any]) -> RunFilter:
    """Return what a view wants of the list.

    Raises:
        UsageError: it is no filter.
    """
    try:
        return msgspec.convert(wanted.get("filter") or {}, RunFilter)
    except msgspec.ValidationError as exc:
        raise UsageError(f"no filter of runs: {exc}", code="DN915") from None


class RunsFollower:
    """What one view was sent of the list.

    Args:
        model: has the index of all runs.
        wanted: the filter.
    """

    def __init__(self, model: PanelModel, wanted: RunFilter) -> None:
        self._index = model.runs
        self._wanted = wanted
        self._matcher = Matcher(wanted, model.engine.history)
        self._matched: dict[str, Run] = {}
        self._segments: dict[str, Segment] = {}
        self._counts: dict[Segment, int] = dict.fromkeys(SEGMENTS, 0)
        self._rows_sent: set[str] = set()
        """The ids of the runs that the view has."""
        self._revision: int | None = None
        self._sent: object = None

    async def changes(self, pace: Pace) -> Any:
        """Return the rows that changed or are gone, and the counts; None for nothing new."""
        await self._index.sync(pace)
        is_first = self._revision is None
        changed, gone = await self._take(pace)
        gone += self._expire()
        if self._wanted.order == "slowest":
            rows = self._noted(await self._slowest(pace), whole=True)
            return self._if_new({**self._base(), "rows": rows, "gone": [], "whole": True})
        shown = [run for run in changed if self._is_shown(run.id)]
        if is_first or len(shown) > ROWS_AT_ONCE:
            rows = self._noted(self._before(None, ROWS_AT_ONCE), whole=True)
            return self._if_new({**self._base(), "rows": rows, "gone": [], "whole": True})
        await pace.rest()
        gone = [run_id for run_id in gone if run_id in self._rows_sent]
        self._rows_sent.difference_update(gone)
        rows = self._noted([as_json(run.row) for run in sorted(shown, key=lambda run: -run.seq)])
        if not rows and not gone and self._base() == self._sent:
            return None
        self._sent = self._base()
        return {**self._base(), "rows": rows, "gone": gone, "whole": False}

    def older(self, before: int | None, count: int) -> list[dict[str, Any]]:
        """Return the rows of the newest runs before a number, newest first, for the view to keep."""
        return self._noted(self._before(before, count))

    def _noted(self, rows: list[dict[str, Any]], *, whole: bool = False) -> list[dict[str, Any]]:
        """Return rows that are sent, and remember them; `whole` ones replace those before."""
        if whole:
            self._rows_sent.clear()
        self._rows_sent.update(row["id"] for row in rows)
        return rows

    def _before(self, before: int | None, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for run in reversed(self._matched.values()):
            if (before is None or run.seq < before) and self._is_shown(run.id):
                found.append(as_json(run.row))
                if len(found) >= count:
                    break
        return found

    async def _slowest(self, pace: Pace) -> list[dict[str, Any]]:
        now = time.time() * 1000
        longest: list[tuple[float, int, Run]] = []
        for run in list(self._matched.values()):
            if self._is_shown(run.id):
                one = (_lasts(run, now), -run.seq, run)  # of those that took as long, the first come first
                if len(longest) < ROWS_AT_ONCE:
                    heapq.heappush(longest, one)
                elif one > longest[0]:
                    heapq.heapreplace(longest, one)
            await pace.rest()
        return [as_json(run.row) for *_, run in sorted(longest, reverse=True)]

    def _base(self) -> dict[str, Any]:
        return {"counts": dict(self._counts), "filter": msgspec.to_builtins(self._wanted)}

    def _if_new(self, value: dict[str, Any]) -> dict[str, Any] | None:
        if value == self._sent:
            return None
        self._sent = value if value["whole"] and self._wanted.order == "slowest" else self._base()
        return value

    def _is_shown(self, run_id: str) -> bool:
        wanted = self._wanted.outcome
        return run_id in self._matched and wanted in ("all", self._segments[run_id])

    async def _take(self, pace: Pace) -> tuple[list[Run], list[str]]:
        """Match what has changed; returns the runs that did, and the ids of those that are shown no more."""
        index, now = self._index, time.time() * 1000
        since = -1 if self._revision is None else self._revision
        changed = list(index.changed_since(since))[::-1]
        if since < 0:
            changed.sort(key=lambda run: run.seq)
        dropped = index.dropped_since(since) if since >= 0 else []
        self._revision = index.revision
        await pace.rest()
        gone = []
        for run_id in dropped:
            if self._is_shown(run_id):
                gone.append(run_id)
            self._forget(run_id)
            self._matcher.forget(run_id)
            await pace.rest()
        newest, is_ordered = self._newest_seq(), True
        for run in changed:
            was_shown = self._is_shown(run.id)
            if not self._matcher.takes(run, now):
                self._forget(run.id)
            else:
                is_ordered &= run.id in self._matched or run.seq > newest
                newest = max(newest, run.seq)
                self._remember(run)
            if was_shown and not self._is_shown(run.id):
                gone.append(run.id)
            await pace.rest()
        if not is_ordered:
            self._matched = {one.id: one for one in sorted(self._matched.values(), key=lambda one: one.seq)}
        return changed, gone

    def _newest_seq(self) -> int:
        newest = next(reversed(self._matched.values()), None)
        return 0 if newest is None else newest.seq

    def _expire(self) -> list[str]:
        """Forget those that are too old by now, where only the last seconds are wanted."""
        if self._wanted.last is None:
            return []
        oldest = time.time() * 1000 - self._wanted.last * 1000
        gone = []
        for run_id, run in self._matched.items():
            if run.at >= oldest:
                break
            gone.append(run_id)
        for run_id in gone:
            self._forget(run_id)
        return gone

    def _remember(self, run: Run) -> None:
        before = self._segments.get(run.id)
        self._matched[run.id] = run  # one that was matched before keeps its place
        self._count(run.segment, 1)
        if before is not None:
            self._count(before, -1)
        self._segments[run.id] = run.segment

    def _forget(self, run_id: str) -> None:
        if self._matched.pop(run_id, None) is not None:
            self._count(self._segments.pop(run_id), -1)

    def _count(self, segment: Segment, one: int) -> None:
        self._counts["all"] += one
        if segment != "all":
            self._counts[segment] += one


def _lasts(run: Run, now: float) -> float:
    return run.row.duration if run.row.duration is not None else now - run.at


def follow(model: PanelModel, wanted: dict[str, Any]) -> RunsFollower:
    """Return what follows the list for one view."""
    return RunsFollower(model, filter_of(wanted))


async def whole(model: PanelModel, wanted: dict[str, Any], pace: Pace) -> Any:
    """Return the newest rows of the list, for who looks only once."""
    return await follow(model, wanted).changes(pace)
