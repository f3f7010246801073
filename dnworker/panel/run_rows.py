"""The rows of the list of runs, one a first event with all that it caused, and which of them are wanted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dnworker.core.envelope import EventEnvelope, payload_json
from dnworker.events.span_times import SpanTimes
from dnworker.panel.payload_summary import summary_of

if TYPE_CHECKING:
    from dnworker.core.invocation import Invocation
    from dnworker.engine.dead_letters import DeadLetters
    from dnworker.events.history import History
    from dnworker.panel.pace import Pace

Outcome = Literal["failed", "running", "cancelled", "warning", "ok", "none"]
Segment = Literal["all", "failed", "running", "unheard"]
SEGMENTS: tuple[Segment, ...] = ("all", "failed", "running", "unheard")

BARS_SHOWN = 8
CALLS_COMPARED = 2_000
"""Calls of which the longest are found for the miniature."""

FEW_EVENTS = 16
WORDS_TAKEN = 20
LONGEST_WORD = 200

Bar = tuple[float, float, float, bool]
"""Start, time waited and time run of a call, as shares of the run, and whether it failed."""


class RunFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which runs are wanted; texts are parts, whatever their case.

    `words` are looked for in kinds, workers, session and payload. `since` and `until` are milliseconds since
    1970, `last` is a number of seconds up to now. `own` adds the runtime's own events.
    """

    words: list[str] = []
    kind: str = ""
    worker: str = ""
    session: str = ""
    payload: str = ""
    since: float | None = None
    until: float | None = None
    last: float | None = None
    outcome: Segment = "all"
    own: bool = False
    order: Literal["newest", "slowest"] = "newest"


class RunRow(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One run: `at` in ms since 1970, `duration` in ms, None until all have ended.

    Thousands are kept, and none of them is in a circle: the collector has no business with them.
    """

    id: str
    seq: int
    kind: str
    text: str
    session: str | None
    outcome: Outcome
    events: int
    calls: int
    failed: int
    dead: int = 0
    """How many dead letters became of its events."""
    duration: float | None
    at: float
    mini: tuple[Bar, ...]
    why: str | None
    """Why nobody ran."""
    by: str | None = None
    """The coding agent that fired it."""


class Run(msgspec.Struct, kw_only=True, eq=False, gc=False):
    """A first event and what it caused, as far as it is known by now."""

    id: str
    seq: int
    kind: str
    session: str | None
    at: float
    is_own: bool
    """Whether the runtime published it about itself."""
    events: Sequence[str] = ()
    """The ids of its events: a tuple while they are few, which the collector can leave alone, then a list."""
    kinds: dict[str, None]
    workers: dict[str, None]
    row: RunRow
    revision: int = 0

    def add(self, event_id: str) -> None:
        """Take an event that it has caused."""
        if isinstance(self.events, list):
            self.events.append(event_id)
        elif len(self.events) < FEW_EVENTS:
            self.events = (*self.events, event_id)
        else:
            self.events = [*self.events, event_id]

    @property
    def segment(self) -> Segment:
        """The segment that it counts in beside `all`; `all` where it is in none."""
        named: dict[str, Segment] = {"failed": "failed", "running": "running", "none": "unheard"}
        return named.get(self.row.outcome, "all")


class Matcher:
    """Decides whether a run is wanted; what does not change of it is decided once.

    Args:
        wanted: the filter.
        history: has the payloads.
    """

    def __init__(self, wanted: RunFilter, history: History) -> None:
        self.wanted = wanted
        self._history = history
        self._words = [word.casefold()[:LONGEST_WORD] for word in wanted.words[:WORDS_TAKEN] if word]
        self._in_payload: dict[tuple[str, str], bool] = {}

    def takes(self, run: Run, now: float) -> bool:
        """Return whether a run is wanted, whatever its outcome; `now` is in ms since 1970."""
        wanted = self.wanted
        return (
            (wanted.own or not run.is_own)
            and (wanted.since is None or run.at >= wanted.since)
            and (wanted.until is None or run.at <= wanted.until)
            and (wanted.last is None or run.at >= now - wanted.last * 1000)
            and _any_has(run.kinds, wanted.kind)
            and _any_has(run.workers, wanted.worker)
            and (not wanted.session or _has(run.session, wanted.session))
            and (not wanted.payload or self._payload_has(run, wanted.payload.casefold()))
            and all(self._has_word(run, word) for word in self._words)
        )

    def _has_word(self, run: Run, word: str) -> bool:
        return (
            word.removeprefix("#") == str(run.seq)
            or _any_has(run.kinds, word)
            or _any_has(run.workers, word)
            or _has(run.session, word)
            or self._payload_has(run, word)
        )

    def _payload_has(self, run: Run, word: str) -> bool:
        key = (run.id, word)
        found = self._in_payload.get(key)
        if found is None:
            event = self._history.event(run.id)
            held = payload_json(event).decode(errors="replace").casefold() if event is not None else ""
            found = self._in_payload[key] = json.dumps(word, ensure_ascii=False)[1:-1] in held
        return found

    def forget(self, run_id: str) -> None:
        """Forget a run that is kept no more."""
        for word in (*self._words, self.wanted.payload.casefold()):
            self._in_payload.pop((run_id, word), None)


def _has(text: str | None, part: str) -> bool:
    return text is not None and part.casefold() in text.casefold()


def _any_has(texts: dict[str, None], part: str) -> bool:
    return not part or any(part.casefold() in text.casefold() for text in texts)


# -- how a row is made ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    """What is counted while the events of a run are gone through."""

    calls: int = 0
    failed: int = 0
    dead: int = 0
    worst: int = -1
    is_running: bool = False
    is_lossy: bool = False


_GRADES = {"ok": 0, "warning": 1, "cancelled": 2}


def empty_row(event: EventEnvelope, history: History, at: float) -> RunRow:
    """Return the row of an event of which nothing is known yet; `at` in ms since 1970."""
    source = history.causes.source(event.event_id)
    return RunRow(
        id=event.event_id,
        seq=event.seq,
        kind=event.kind,
        text=summary_of(event) or (source.text if source is not None else ""),
        session=event.session_id,
        outcome="running",
        events=1,
        calls=0,
        failed=0,
        duration=None,
        at=at,
        mini=(),
        why=None,
        by=None if source is None else source.agent,
    )


async def row_of(
    run: Run, event: EventEnvelope, history: History, letters: DeadLetters, pace: Pace
) -> RunRow:
    """Return the row of a run as things stand, and note its workers; `event` is its first."""
    tally, times = _Tally(), SpanTimes(event)
    calls: list[tuple[EventEnvelope, Invocation]] = []
    for event_id in run.events:
        caused = history.invocations_of(event_id)
        tally.dead += len(letters.of_event(event_id))
        _count(tally, event_id, caused, history)
        if caused and len(calls) < CALLS_COMPARED and (known := history.event(event_id)) is not None:
            times.learn(known, caused)
            calls += [(known, call) for call in caused]
        for call in caused:
            run.workers[call.worker] = None
        await pace.rest()
    outcome = _outcome(tally)
    duration = None if outcome == "running" or tally.is_running else _duration(calls, times)
    return RunRow(
        id=run.id,
        seq=run.seq,
        kind=run.kind,
        text=run.row.text,
        session=run.session,
        outcome=outcome,
        events=len(run.events),
        calls=tally.calls,
        failed=tally.failed,
        dead=tally.dead,
        duration=duration,
        at=run.at,
        mini=_miniature(calls, times, duration),
        why=None,
        by=run.row.by,
    )


def _count(tally: _Tally, event_id: str, calls: Sequence[Invocation], history: History) -> None:
    lost, lost_failed = history.runs_lost(event_id)
    tally.calls += len(calls) + lost
    tally.failed += lost_failed
    if lost:
        tally.worst = max(tally.worst, 0)
    for call in calls:
        if call.outcome == "error" or call.unhandled:
            tally.failed += 1
        if call.outcome == "running":
            tally.is_running = True
        tally.worst = max(tally.worst, _GRADES.get(call.outcome, 0))
    if event_id in history.queued():
        tally.is_running = True
    if history.losses_of(event_id):
        tally.is_lossy = True
    if history.held(event_id) is not None:
        tally.worst = max(tally.worst, _GRADES["warning"])


def _outcome(tally: _Tally) -> Outcome:
    if tally.failed or tally.is_lossy:
        return "failed"
    if tally.is_running:
        return "running"
    named: dict[int, Outcome] = {0: "ok", 1: "warning", 2: "cancelled"}
    return named.get(tally.worst, "none")


def _duration(calls: Sequence[tuple[EventEnvelope, Invocation]], times: SpanTimes) -> float:
    ends = (times.of_call(call)[1] for _, call in calls)
    return round(max((end for end in ends if end is not None), default=0.0), 3)


def _miniature(
    calls: Sequence[tuple[EventEnvelope, Invocation]], times: SpanTimes, duration: float | None
) -> tuple[Bar, ...]:
    """Return the bars of those that failed and took longest, in the order in which they began."""
    whole = times.now if duration is None else duration
    if whole <= 0:
        return ()
    bars: list[tuple[bool, float, float, float]] = []
    for event, call in calls:
        started, ended = times.of_call(call)
        published = min(times.of_event(event), started)
        failed = call.outcome == "error" or bool(call.unhandled)
        bars.append((failed, (whole if ended is None else ended) - started, published, started))
    chosen = sorted(sorted(bars, reverse=True)[:BARS_SHOWN], key=lambda bar: bar[3])

    def share(value: float) -> float:
        return round(min(1.0, max(0.0, value / whole)), 2)

    return tuple(
        (share(published), share(started - published), share(ran), failed)
        for failed, ran, published, started in chosen
    )


def as_json(row: RunRow) -> dict[str, Any]:
    """Return a row as it is sent."""
    found: dict[str, Any] = msgspec.to_builtins(row)
    return found
