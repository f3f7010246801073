"""One place where the panel is shown: what it looks at, and what it was sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.panel import serialize
from dnworker.panel.event_rows import EventFilter, EventRow, builtins, matching, row_of
from dnworker.panel.log_rows import LogFilter, LogWindow

if TYPE_CHECKING:
    from dnworker.panel.feed import Feed

BYTES_PER_SECOND = 250_000
LINES_AT_ONCE = 200
EVENTS_AT_ONCE = 100
OLDER_EVENTS = 200
EVENTS_LOOKED_AT = 500
"""Events that are matched before the loop turns."""

FIGURES_INTERVAL = 0.5
"""Seconds between two messages of stats; what changes a worker's state is sent at once."""

TRACE_INTERVAL = 0.5
CHUNKS_AT_ONCE = 4
"""Pieces of the log that a filter looks at before other views have their turn."""

SILENCE = 15.0
"""Seconds without an answer after which a view that was sent updates counts as gone."""

Send = Callable[[dict[str, Any]], None]


def size_of(value: object) -> int:
    """Return the bytes that a part of a message comes to."""
    return len(msgspec.json.encode(value))


class Budget:
    """Bytes that may be sent: so many a second, and one second's worth at once."""

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._now = now
        self._left = per_second
        self._at = now()

    @property
    def left(self) -> float:
        """How many there are."""
        now = self._now()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        return self._left

    def spend(self, count: int) -> None:
        """Take so many, which may be more than there are: then there are none for a while."""
        self._left = self.left - count


class View:
    """What one view looks at and has been sent; `send` carries a message to it."""

    def __init__(self, name: str, feed: Feed, send: Send) -> None:
        self.name = name
        self.visible = True
        self.rests_until = 0.0
        """When it may be updated again, by the loop's time, after it could not be."""
        self.send = send
        self.parts: frozenset[str] = frozenset()
        self.events = EventFilter()
        self.trace: str | None = None
        self.session: str | None = None
        self._feed = feed
        self._runtime = feed.runtime
        self._budget = Budget(BYTES_PER_SECOND)
        self._seq = 0
        self._fills = 0
        self._unseen_since: float | None = None
        self._forget()
        self.window = LogWindow(self._runtime.logs, LogFilter())

    def _forget(self) -> None:
        """Forget what was sent: all of it is sent again."""
        self._fills += 1
        self._whole = True
        self._sent: dict[str, object] = {}
        self._briefs: dict[str, object] = {}
        self._workers: dict[str, object] = {}
        self._figures_at = self._trace_at = 0.0
        self._figures_cost = FIGURES_INTERVAL
        self._line = 0
        self._revision: int | None = None
        self._trace_revision: int | None = None
        self._trace_cost = TRACE_INTERVAL
        self._payload_of: str | None = None
        self._late = False

    # -- what the view says ----------------------------------------------------------------------------

    @property
    def wants_updates(self) -> bool:
        """Whether it is in sight, or has not been filled since it said hello."""
        return self.visible or self._seq == 0

    def look_at(self, parts: Sequence[str]) -> None:
        """Send only these parts from now on; those that are new, whole."""
        for part in set(parts) - self.parts:
            self._sent.pop(part, None)
            if part == "log":
                self._line = 0
            if part == "events":
                self._revision = None
        self.parts = frozenset(parts)

    def greet(self) -> None:
        """Send everything, in sight or not: the view is new, or was away."""
        self._seq = 0
        self.refill()

    def refill(self) -> None:
        """Send everything again."""
        self._forget()
        self.alive()

    def filter_log(self, wanted: LogFilter) -> None:
        """Show only lines that match.

        Raises:
            UsageError: the filter is wrong; the one before stays.
        """
        self.window = LogWindow(self._runtime.logs, wanted)
        self._line = 0

    def show_trace(self, event_id: str | None) -> None:
        """Send the trace of an event, again as it goes on."""
        self.trace = event_id
        self._trace_at = 0.0
        self._payload_of = None
        self._sent.pop("trace", None)

    def show_session(self, session_id: str | None) -> None:
        """Send a session, again as it goes on."""
        self.session = session_id
        self._sent.pop("session", None)

    def filter_events(self, wanted: EventFilter) -> None:
        """Show only events that are wanted."""
        self.events = wanted
        self._revision = None

    def alive(self) -> None:
        """Note that the view answers."""
        self._unseen_since = None

    @property
    def is_gone(self) -> bool:
        """Whether updates were sent and not answered for long."""
        since = self._unseen_since
        return since is not None and time.monotonic() - since > SILENCE

    @property
    def is_behind(self) -> bool:
        """Whether something is left to send, although nothing new happens."""
        return self._late

    # -- what it is sent -------------------------------------------------------------------------------

    async def update(self) -> None:
        """Send what has changed, as far as the budget goes; states go whatever it says."""
        fills, self._late = self._fills, False
        for _ in range(CHUNKS_AT_ONCE):  # other views wait meanwhile
            if not self.window.is_behind:
                break
            self.window.catch_up()
            await asyncio.sleep(0)
        self._late = self.window.is_behind
        left = self._budget.left
        told = dict(self._states())
        if left <= 0:
            self._late = True
        else:
            told |= self._changes()
            if "events" in self.parts and (events := await self._events()) is not None:
                told["events"] = events
        size = sum(map(size_of, told.values()))
        if "log" in self.parts and left > 0:
            log, cost = self._log(left - size)
            if log is not None:
                told["log"] = log
                size += cost
        if fills != self._fills:  # it was filled anew meanwhile: what was made here is part of that
            self._forget()
            self._late = True
        elif told:
            self._seq = 1 if self._whole else self._seq + 1
            type_, self._whole = "snapshot" if self._whole else "update", False
            self._budget.spend(size)
            if self._unseen_since is None:
                self._unseen_since = time.monotonic()
            self._tell(type_, seq=self._seq, **told)

    async def room(self) -> None:
        """Return when there is room for an answer that may be long, and then still for updates."""
        await asyncio.sleep(max(0.0, BYTES_PER_SECOND / 2 - self._budget.left) / BYTES_PER_SECOND)

    def answer(self, type_: str, number: int, **fields: Any) -> None:
        """Answer what was asked with a number."""
        self._budget.spend(size_of(fields))
        self._tell(type_, id=number, **fields)

    def _tell(self, type_: str, **fields: Any) -> None:
        self.send({"view": self.name, "type": type_, "now": time.time() * 1000, **fields})

    def _states(self) -> Iterator[tuple[str, Any]]:
        """Go through the changes that nobody must miss."""
        feed = self._feed
        yield from self._if_new("paused", feed.actions.paused_by)
        yield from self._if_new("runtime", feed.runtime_to_json())
        yield from self._worker_changes()
        yield from self._if_new("attention", feed.attention())

    def _changes(self) -> Iterator[tuple[str, Any]]:
        """Go through the other parts that changed."""
        feed = self._feed
        if "capabilities" in self.parts:
            title = feed.actions.exported_as
            drawn = [serialize.capability_to_json(c, title) for c in self._runtime.capabilities.all()]
            yield from self._if_new(
                "capabilities", {"all": drawn, "whyNoExport": feed.actions.why_no_export()}
            )
        if "sessions" in self.parts:
            yield from self._session_changes()
        if "fire" in self.parts:
            yield from self._if_new("fire", {"kinds": sorted(feed.actions.kinds()), "history": [*feed.fired]})
        if "events" in self.parts:
            yield from self._trace_changes()
        yield from self._if_new("clock", serialize.clock_to_json(self._runtime.clock))

    def _if_new(self, part: str, value: Any) -> Iterator[tuple[str, Any]]:
        if part not in self._sent or self._sent[part] != value:
            self._sent[part] = value
            yield part, value

    def _worker_changes(self) -> Iterator[tuple[str, Any]]:
        workers = self._runtime.workers()
        briefs: dict[str, object] = {
            w.qualified_name: (serialize.worker_brief(w), self._feed.gate(w)) for w in workers
        }
        now = time.monotonic()
        is_time = now - self._figures_at >= self._figures_cost
        if not is_time:
            self._late = True  # stats may have changed; the next look will tell
        changed = []
        for worker in workers:
            name = worker.qualified_name
            if not is_time and briefs[name] == self._briefs.get(name):
                continue
            drawn = serialize.worker_to_json(worker, self._feed.gate(worker), self._feed.actions)
            if drawn != self._workers.get(name):
                self._workers[name] = drawn
                changed.append(drawn)
        if is_time:
            self._figures_at = now
            cost = size_of(changed) * 4 / BYTES_PER_SECOND  # a quarter of the budget at most
            self._figures_cost = max(FIGURES_INTERVAL, cost)
        order = [*briefs]
        if changed or order != [*self._briefs] or self._whole:
            self._workers = {name: self._workers[name] for name in order}
            yield "workers", {"order": order, "changed": changed}
        self._briefs = briefs

    def _session_changes(self) -> Iterator[tuple[str, Any]]:
        sessions = self._runtime.sessions
        newest = sessions.list()
        queue = self._runtime.turns.queue
        briefs = [serialize.session_brief(s, queue(s)) for s in newest[: serialize.SESSIONS_SHOWN]]
        yield from self._if_new("sessions", {"newest": briefs, "all": len(newest)})
        shown = self.session
        if shown is not None:
            found = sessions.get(shown) if shown in sessions else None
            drawn = None if found is None else serialize.session_to_json(found, queue(found))
            yield from self._if_new("session", {"id": shown, "drawn": drawn})

    async def _events(self) -> dict[str, Any] | None:
        history, feed = self._runtime.history, self._feed
        revision, self._revision = self._revision, feed.revision
        if revision is not None:
            changed = list(islice(feed.changed_since(revision), EVENTS_AT_ONCE + 1))
            if len(changed) <= EVENTS_AT_ONCE:
                looked = [row_of(event, history) for event in changed]
                wanted = [row for row in looked if self.events.takes(row)]
                gone = [row.seq for row in looked if not self.events.takes(row)]
                return {"rows": builtins(wanted), "gone": gone, "whole": False} if wanted or gone else None
        rows = await self.older(None, EVENTS_AT_ONCE)
        return {"rows": rows, "gone": [], "whole": True, "filter": msgspec.to_builtins(self.events)}

    async def older(self, before: int | None, count: int = OLDER_EVENTS) -> list[dict[str, Any]]:
        """Return the rows of the newest events before a number, newest first."""
        history, wanted = self._runtime.history, self.events
        newest = history.events(history.kept)[::-1]
        found: list[EventRow] = []
        for start in range(0, len(newest), EVENTS_LOOKED_AT):
            some = newest[start : start + EVENTS_LOOKED_AT]
            found += matching((e for e in some if before is None or e.seq < before), history, wanted)
            if len(found) >= count:
                break
            await asyncio.sleep(0)
        return builtins(found[:count])

    def _trace_changes(self) -> Iterator[tuple[str, Any]]:
        if self.trace is None:
            return
        sent = self._sent.get("trace")
        if isinstance(sent, dict) and not sent.get("running") and self._revision == self._trace_revision:
            return
        now = time.monotonic()
        if now - self._trace_at < self._trace_cost:
            self._late = True
            return
        self._trace_revision = self._feed.revision
        history = self._runtime.history
        event = history.event(self.trace)
        drawn: dict[str, Any] = {"event": self.trace, "gone": True}
        if event is not None:
            drawn = serialize.trace_to_json(event, history) | {"cells": self._feed.actions.has_cells}
        self._trace_at = time.monotonic()
        self._trace_cost = max(TRACE_INTERVAL, (self._trace_at - now) * 10)
        for part, value in self._if_new("trace", drawn):
            if event is not None and self._payload_of != self.trace:  # once: it does not change
                self._payload_of = self.trace
                value = value | serialize.payload_to_json(event)
            yield part, value

    def _log(self, room: float) -> tuple[dict[str, Any] | None, int]:
        """Return what is new at the end of the log, as many of the newest lines as there is room for."""
        window = self.window
        first, end = window.first, window.end
        state = (window.id, first, end, window.problem)
        if self._sent.get("log") == state and self._line:
            return None, 0
        self._sent["log"] = state
        lines = window.lines(max(self._line, end - LINES_AT_ONCE), LINES_AT_ONCE)
        self._line = end
        drawn: list[dict[str, Any]] = []
        size = 0
        for place, line in reversed(lines):
            one = serialize.line_to_json(place, line)
            cost = size_of(one)
            if drawn and size + cost > room / 2:  # what is left is for the lines that are asked for
                break
            size += cost
            drawn.append(one)
        told = {
            "window": window.id,
            "first": first,
            "end": end,
            "dropped": self._runtime.logs.dropped,
            "problem": window.problem,
            "filter": msgspec.to_builtins(window.wanted),
            "lines": drawn[::-1],
        }
        return told, size + 100
