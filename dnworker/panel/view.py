"""`View`: one display of the panel, what it shows and what it was sent; `feed` updates it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dnworker.core.handler_error import describe
from dnworker.core.text import shorten
from dnworker.panel import serialize
from dnworker.panel.budget import BYTES_PER_SECOND, Budget, size_of
from dnworker.panel.log_entries import bar_of, entry_to_json
from dnworker.panel.log_rows import LogFilter, LogWindow
from dnworker.panel.pace import Pace
from dnworker.panel.parts import Follower, Part, Wanted, part_named
from dnworker.panel.worker_changes import WorkerChanges

if TYPE_CHECKING:
    from dnworker.core.logs import LogLine
    from dnworker.panel.model import PanelModel

log = logging.getLogger("dnworker.panel")

LINES_AT_ONCE = 200
CHUNKS_AT_ONCE = 4
"""Pieces of the log that a filter looks at before other views have their turn."""

SILENCE = 15.0
"""Seconds without an answer after which a view that was sent updates counts as gone."""

LONGEST_FAILURE = 300
"""Characters that are sent of why a part failed."""

Send = Callable[[dict[str, Any]], None]
Parts = Iterator[tuple[str, Any]]
"""Parts of an update: the name and value of each."""


class Reading(NamedTuple):
    """A slow part that is being read, and what is wanted of it."""

    wanted: Wanted
    task: asyncio.Task[Any]


@dataclass
class Sent:
    """What a view was sent since it was filled; where this is new, the next update is a snapshot.

    The intervals are read for each, not once at import: a test without delays sets the constants to 0.
    """

    workers: WorkerChanges
    is_nothing: bool = True
    parts: dict[str, object] = field(default_factory=dict)
    # the log and the timeline
    line: int = 0
    changes: int = 0
    # when each part was looked at last, in seconds
    looked_at: dict[str, float] = field(default_factory=dict)
    followers: dict[str, Follower] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    """The slow parts that are being read, by name."""

    def stop_reading(self, *names: str) -> None:
        """End the reading of these parts, of all where none is named."""
        for name in names or tuple(self.readings):
            if (reading := self.readings.pop(name, None)) is not None:
                reading.task.cancel()


class View:
    """What one view looks at and was sent; `send` carries a message to it."""

    def __init__(self, name: str, model: PanelModel, send: Send) -> None:
        self.name = name
        self._model = model
        self._engine = model.engine
        # the way to it
        self.send = send
        self.paused_until = 0.0
        """When it may be updated again, by the loop's time, after an update failed."""
        self._budget = Budget(BYTES_PER_SECOND)
        self._unanswered_since: float | None = None
        # what it looks at
        self.visible = True
        self.parts: frozenset[str] = frozenset()
        self.looks: dict[str, Wanted] = {}
        self.window = LogWindow(self._engine.logs, LogFilter())
        # what it was sent
        self._seq = 0
        self._sent = Sent(WorkerChanges(model))
        self._is_behind = False
        self._logged: set[tuple[str, type[Exception]]] = set()

    # -- what the view sends ----------------------------------------------------------------------------

    @property
    def wants_updates(self) -> bool:
        """Whether it is visible, or was not filled since it said hello."""
        return self.visible or self._seq == 0

    def show_parts(self, parts: Sequence[str]) -> None:
        """Send only these parts from now on; those that are new, whole."""
        for part in set(parts) - self.parts:
            self._sent.parts.pop(part, None)
            if part == "log":
                self._sent.line = 0
        self.parts = frozenset(parts)

    def restart(self) -> None:
        """Send everything, although it may be hidden: the view is new, or was away."""
        self._seq = 0
        self.refill()

    def refill(self) -> None:
        """Send everything again."""
        self._sent.stop_reading()
        self._sent = Sent(WorkerChanges(self._model))
        self._is_behind = False
        self.note_alive()

    def filter_log(self, wanted: LogFilter) -> None:
        """Show only lines that match.

        Raises:
            UsageError: the filter is wrong; the one before stays.
        """
        self.window = LogWindow(self._engine.logs, wanted)
        self._sent.line = 0

    def look(self, part: str, wanted: Wanted | None) -> None:
        """Send a part, again as it changes; `wanted` says what of it, None ends it.

        Raises:
            UsageError: there is no such part, or what is wanted of it makes no sense.
        """
        follow = part_named(part).follow
        follower = follow(self._model, wanted) if follow is not None and wanted is not None else None
        self.looks.pop(part, None)
        if wanted is not None:
            self.looks[part] = wanted
        self._sent.looked_at.pop(part, None)
        self._sent.parts.pop(part, None)
        self._sent.followers.pop(part, None)
        if part in self._sent.readings:
            self._sent.stop_reading(part)
        if follower is not None:
            self._sent.followers[part] = follower

    def follower(self, part: str) -> Follower | None:
        """Return what follows a part that is sent as changes; None while it is not looked at."""
        return self._sent.followers.get(part)

    @property
    def next_look(self) -> float | None:
        """Seconds until it looks again at what nobody hears of; None if it looks at nothing of the kind."""
        return min(
            (part.interval() for part in map(part_named, self.looks) if not part.is_heard_of), default=None
        )

    def note_alive(self) -> None:
        """Note that the view answers."""
        self._unanswered_since = None

    @property
    def is_gone(self) -> bool:
        """Whether updates were sent and not answered for long."""
        since = self._unanswered_since
        return since is not None and time.monotonic() - since > SILENCE

    @property
    def is_behind(self) -> bool:
        """Whether something is left to send, although nothing new happens."""
        return self._is_behind

    # -- what it is sent -------------------------------------------------------------------------------

    async def update(self) -> None:
        """Send what has changed, as far as the budget allows; states are sent whatever is left of it."""
        sent, self._is_behind = self._sent, False
        await self._match_log()
        room, pace = self._budget.left, Pace()
        parts = await self._states(pace)
        size = sum(map(size_of, parts.values()))
        if room > 0:
            size += await self._add_changes(parts, room - size, pace)
        else:
            self._is_behind = True
        if sent is not self._sent:  # it was filled anew meanwhile: what was made here is part of that
            self._sent.stop_reading()
            self._sent = Sent(WorkerChanges(self._model))
            self._is_behind = True
        elif parts:
            self._send_parts(parts, size)

    async def room(self) -> None:
        """Return when there is room for an answer that may be long, and then still for updates."""
        await asyncio.sleep(max(0.0, BYTES_PER_SECOND / 2 - self._budget.left) / BYTES_PER_SECOND)

    def answer(self, type_: str, number: int, **fields: Any) -> None:
        """Answer the request of this number."""
        self._budget.spend(size_of(fields))
        self._send(type_, id=number, **fields)

    def stop_reading(self) -> None:
        """End what goes on beside its updates: nobody waits for it any more."""
        self._sent.stop_reading()

    def _take_read(self, name: str) -> dict[str, Any]:
        """Return a slow part if it is read by now and has changed."""
        wanted, task = self._sent.readings[name]
        if not task.done():
            self._is_behind = True
            return {}
        del self._sent.readings[name]
        try:
            value = task.result()
            size_of(value)  # it raises where there is no form as JSON
        except Exception as exc:  # one part's trouble must not silence the view
            value = self._failed(name, exc)
        return dict(self._if_new(name, value)) if self.looks.get(name) is wanted else {}

    async def _match_log(self) -> None:
        """Match the next lines of the log against the filter, as many as other views can wait for."""
        for _ in range(CHUNKS_AT_ONCE):
            if not self.window.is_behind:
                break
            self.window.catch_up()
            await asyncio.sleep(0)
        self._is_behind = self.window.is_behind

    async def _add_changes(self, parts: dict[str, Any], room: float, pace: Pace) -> int:
        """Add the changes that may wait for room; returns their bytes."""
        changes: dict[str, Any] = {}
        for part, value in self._changes():
            changes[part] = value
            await pace.rest()
        changes |= await self._looked_at(pace)
        if "logbar" in self.parts:
            changes |= self._if_new("logbar", bar_of(self.window, self._engine.logs.dropped))
        size = sum(map(size_of, changes.values()))
        if "log" in self.parts and (log := self._log_changes()) is not None:
            size += self._add_lines(log, room - size)
            changes["log"] = log
        parts |= changes
        return size

    def _send_parts(self, parts: dict[str, Any], size: int) -> None:
        is_snapshot, self._sent.is_nothing = self._sent.is_nothing, False
        self._seq = 1 if is_snapshot else self._seq + 1
        self._budget.spend(size)
        if self._unanswered_since is None:
            self._unanswered_since = time.monotonic()
        self._send("snapshot" if is_snapshot else "update", seq=self._seq, **parts)

    def _send(self, type_: str, **fields: Any) -> None:
        self.send({"view": self.name, "type": type_, "now": time.time() * 1000, **fields})

    # -- states, and the parts that are sent whole -----------------------------------------------------

    async def _states(self, pace: Pace) -> dict[str, Any]:
        """Return the changes that nobody must miss."""
        model, sent = self._model, self._sent
        parts = dict(self._if_new("paused", model.actions.paused_by))
        parts |= self._if_new("runtime", model.runtime_to_json())
        if (workers := await sent.workers.take(pace)) is not None:
            parts["workers"] = workers
        self._is_behind |= sent.workers.is_behind
        parts |= self._if_new("attention", model.attention())
        return parts

    def _changes(self) -> Parts:
        """Go through the other parts that changed, without timeline and log."""
        yield from self._if_new("clock", serialize.clock_to_json(self._engine.clock))

    def _if_new(self, part: str, value: Any) -> Parts:
        sent = self._sent.parts
        if part not in sent or sent[part] != value:
            sent[part] = value
            yield part, value

    # -- what is looked at ------------------------------------------------------------------------------

    async def _looked_at(self, pace: Pace) -> dict[str, Any]:
        """Return the parts that it looks at, as far as it is time for them and they have changed."""
        found: dict[str, Any] = {}
        for name, wanted in list(self.looks.items()):
            part, now = part_named(name), time.monotonic()
            if self.looks.get(name) is not wanted:
                continue  # something else of it since: what follows that must not be spent on this
            if name in self._sent.readings:
                found |= self._take_read(name)
                continue
            if now - self._sent.looked_at.get(name, -math.inf) < part.interval():
                self._is_behind |= part.is_heard_of  # of the others, the feed knows when to look again
                continue
            self._sent.looked_at[name] = now
            if part.is_slow:
                reading = asyncio.ensure_future(part.read(self._model, wanted, Pace()))
                self._sent.readings[name] = Reading(wanted, reading)
                self._is_behind = True
                continue
            try:
                value = await self._read(name, part, wanted, pace)
                is_whole = part.follow is None
                if not is_whole or self._sent.parts.get(name) != value:
                    size_of(value)  # it raises where there is no form as JSON
            except Exception as exc:  # one part's trouble must not silence the view
                value, is_whole = self._failed(name, exc), True
                self._is_behind |= part.is_heard_of  # it is read again after its interval
            if self.looks.get(name) is wanted:
                if is_whole:
                    found |= self._if_new(name, value)
                elif value is not None:
                    self._sent.parts.pop(name, None)  # that it failed
                    found[name] = value
            await pace.rest()
        return found

    async def _read(self, name: str, part: Part, wanted: Wanted, pace: Pace) -> Any:
        """Return a part, or what has changed of one that is followed; None for nothing."""
        if part.follow is None:
            return await part.read(self._model, wanted, pace)
        follower = self._sent.followers.get(name)
        if follower is None:  # filled anew
            follower = self._sent.followers[name] = part.follow(self._model, wanted)
        return await follower.changes(pace)

    def _failed(self, name: str, exc: Exception) -> dict[str, str]:
        """Return what is sent of a part that raised; it is logged the first time."""
        self._sent.followers.pop(name, None)  # it begins anew
        if (name, type(exc)) not in self._logged:
            self._logged.add((name, type(exc)))
            log.exception("the part %r of the panel failed; it is tried again", name)
        return {"failed": shorten(describe(exc, with_locals=False).summary, LONGEST_FAILURE)}

    # -- the log ---------------------------------------------------------------------------------------

    def _log_changes(self) -> dict[str, Any] | None:
        """Return where the log begins and ends, if that has changed, without lines."""
        window = self.window
        logs = self._engine.logs
        state = (window.id, window.first, window.end, window.problem, window.hits, logs.changes)
        before = self._sent.parts.get("log")
        if before == state and self._sent.line:
            return None
        if isinstance(before, tuple) and before[0] != window.id:
            self._sent.line = 0  # its positions are others now
        self._sent.parts["log"] = state
        return {
            "window": window.id,
            "first": window.first,
            "end": window.end,
            "dropped": logs.dropped,
            "hits": window.hits,
            "problem": window.problem,
            "filter": msgspec.to_builtins(window.wanted),
        }

    def _changed_lines(self, before: int) -> list[tuple[int, LogLine]]:
        """Return the lines before a position that were sent already, and show something else since."""
        changes, self._sent.changes = self._sent.changes, self._engine.logs.changes
        if not self._sent.line:
            return []  # nothing was sent yet
        numbers = self._engine.logs.changed_since(changes)
        positions = (at for at in self.window.positions(numbers) if at < before)
        return [found for at in positions for found in self.window.entries(at, 1)][-LINES_AT_ONCE:]

    def _add_lines(self, log: dict[str, Any], room: float) -> int:
        """Add as many of the newest lines that are not sent yet as there is room for; returns their bytes."""
        end = log["end"]
        start = max(self._sent.line, end - LINES_AT_ONCE)
        lines = self._changed_lines(start) + self.window.entries(start, LINES_AT_ONCE)
        self._sent.line = end
        found: list[dict[str, Any]] = []
        size = 0
        for position, line in reversed(lines):
            one = entry_to_json(self._engine.logs, self.window, position, line)
            cost = size_of(one)
            if found and size + cost > room / 2:  # what is left is for the lines that views ask for
                break
            size += cost
            found.append(one)
        log["lines"] = found[::-1]
        return size + 100
