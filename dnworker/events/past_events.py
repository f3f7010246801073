"""`PastEvents`: pages of events that memory has no more, and their traces, from a journal's file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from dnworker.core.envelope import NOISE, EventEnvelope, decode
from dnworker.core.handler_error import HandlerError
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.logs import LogLine
from dnworker.events.history import History
from dnworker.events.journal import JournalReader, StoredInvocation, stored_invocation
from dnworker.events.trace import Trace

ROWS_LOOKED_AT = 20_000
"""Events of the file that one page looks at, and that a trace looks at after its event."""

RUNS_READ = 200
"""Runs of one event that are read, the newest."""

EVENTS_OF_TRACE = 2_000
"""Events that a trace from the file has at most."""

_OUTCOMES = ("ok", "warning", "error", "cancelled")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are asked for; nothing given means all of them."""

    kinds: tuple[str, ...] = ()
    """Exact, or with `*` at the end for all that begin so."""
    session: str | None = None
    worker: str | None = None
    """By qualified name: events that it has handled or published."""
    failed: bool = False
    since: datetime | None = None
    noise: bool = False
    """Also what the runtime says of itself and of pieces of answers."""

    def takes(self, event: EventEnvelope) -> bool:
        """Return whether an event is wanted by itself, whatever handlers did with it."""
        return (
            (self.session is None or event.session_id == self.session)
            and (self.since is None or event.timestamp >= self.since)
            and self._takes_kind(event.kind)
        )

    def is_short(self, found: int, last: int | None, oldest: datetime) -> bool:
        """Return whether more of it was asked for than is kept, where what is older than `oldest` is gone."""
        return last is not None and found < last and (self.since is None or oldest > self.since)

    def _takes_kind(self, kind: str) -> bool:
        if not self.kinds:
            return self.noise or not is_quiet_kind(kind)
        return any(kind.startswith(one[:-1]) if one.endswith("*") else kind == one for one in self.kinds)


def is_quiet_kind(kind: str) -> bool:
    """Return whether events of a kind are shown only when asked for: there are many, and they say little."""
    return kind == "turn.event" or kind.startswith(NOISE)


class PastEvent(NamedTuple):
    """An event of the file: its row, the id of the run that published it, and the runs that handled it."""

    number: int
    cause: str | None
    envelope: EventEnvelope
    runs: list[StoredInvocation]


class PastTrace(NamedTuple):
    """A trace of the file, and what it lacks of what the event has caused, in words."""

    trace: Trace
    cut: list[str]


class PastPage(NamedTuple):
    """Events, the newest first, and the row below which the next page begins; None where that is all."""

    events: list[PastEvent]
    below: int | None


class PastEvents(JournalReader):
    """Reads a journal as `dnworker events` and `dnworker trace` show it."""

    def oldest(self) -> EventEnvelope | None:
        """Return the oldest event that is kept; None where there is none."""
        numbers = self._newest("events", "id", "id = (SELECT min(id) FROM events)", {}, 1, lambda row: row[0])
        return self._event("id = :id", {"id": numbers[0]}) if numbers else None

    def number_of(self, event_id: str) -> int | None:
        """Return the row of an event."""
        found = self._newest("events", "id", "event_id = :id", {"id": event_id}, 1, lambda row: int(row[0]))
        return found[0] if found else None

    def page(self, wanted: Wanted, limit: int, *, below: int | None) -> PastPage:
        """Return up to `limit` events below a row, out of the next `ROWS_LOOKED_AT`; None is above all.

        The page may hold fewer though there are more: `below` of the answer says where to go on.
        """
        top = self._above_all("events") if below is None else below
        low = max(0, top - ROWS_LOOKED_AT)
        where, values = sql_of(wanted)
        where = f"id < :top AND id >= :low AND {where}"
        values |= {"top": top, "low": low}
        found = self._newest("events", "id, cause, envelope", where, values, limit, _past_event)
        events = [one._replace(runs=self.runs_of(one.envelope.event_id)) for one in found]
        if len(found) == limit:
            return PastPage(events, found[-1].number)
        return PastPage(events, low if low > 1 and not _is_before(wanted, self._at(low)) else None)

    def runs_of(self, event_id: str, most: int | None = None) -> list[StoredInvocation]:
        """Return the newest runs that an event has caused, in the order in which they ended."""
        columns = (
            "at, invocation, worker, handler, cause, event_id, generation, outcome, duration, error, logs"
        )
        values = {"event": event_id}
        return self._newest(
            "invocations", columns, "event_id = :event", values, most or RUNS_READ, stored_invocation
        )[::-1]

    def trace(self, event: EventEnvelope) -> PastTrace:
        """Return an event of the file and what it caused, in a history of its own, and what is left out."""
        made = _Rebuilt(self, event)
        made.build()
        return PastTrace(Trace(event, made.history), list(made.cut))

    def causes_beyond(self, number: int) -> bool:
        """Return whether handlers published events that `caused_after` does not look at."""
        where, values = "cause IS NOT NULL AND id > :high", {"high": number + ROWS_LOOKED_AT}
        return bool(self._newest("events", "id", where, values, 1, lambda row: row[0]))

    def caused_after(self, number: int) -> dict[str, list[int]]:
        """Return the rows of events that handlers published after a row, by the id of the run."""
        where = "cause IS NOT NULL AND id > :low AND id <= :high"
        values = {"low": number, "high": number + ROWS_LOOKED_AT}
        rows = self._newest(
            "events", "cause, id", where, values, ROWS_LOOKED_AT, lambda row: (row[0], row[1])
        )
        found: dict[str, list[int]] = defaultdict(list)
        for cause, row in reversed(rows):
            found[cause].append(row)
        return found

    def in_rows(self, numbers: Iterable[int]) -> list[EventEnvelope]:
        """Return the events of rows; those that cannot be read are left out."""
        found = (self._event("id = :id", {"id": number}) for number in numbers)
        return [event for event in found if event is not None]

    def _at(self, number: int) -> str | None:
        where = "id = (SELECT max(id) FROM events WHERE id < :low)"
        found = self._newest("events", "at", where, {"low": number}, 1, lambda row: str(row[0]))
        return found[0] if found else None


def sql_of(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """Return the SQL and its values for what is wanted; all that is foreign in it is a value."""
    parts, values = ["1"], dict[str, Any]()
    if wanted.session is not None:
        parts.append("session_id = :session")
        values["session"] = wanted.session
    if wanted.since is not None:
        parts.append("at >= :since")
        values["since"] = wanted.since.isoformat()
    if wanted.kinds:
        each = []
        for number, kind in enumerate(wanted.kinds):
            begins = kind.endswith("*")
            each.append(f"substr(kind, 1, :n{number}) = :k{number}" if begins else f"kind = :k{number}")
            values |= (
                {f"k{number}": kind[:-1], f"n{number}": len(kind) - 1} if begins else {f"k{number}": kind}
            )
        parts.append(f"({' OR '.join(each)})")
    elif not wanted.noise:
        parts.append("kind != 'turn.event'")
        parts += [f"kind NOT LIKE '{prefix}%'" for prefix in NOISE]
    run = "SELECT 1 FROM invocations AS run WHERE run.event_id = events.event_id"
    if wanted.failed:
        parts.append(f"EXISTS ({run} AND run.outcome = 'error')")
    if wanted.worker is not None:
        parts.append(f"EXISTS ({run} AND run.worker = :worker)")
        values["worker"] = wanted.worker
    return " AND ".join(parts), values


def _is_before(wanted: Wanted, at: str | None) -> bool:
    """Return whether what is older than a moment is not wanted any more."""
    return at is None or (wanted.since is not None and at < wanted.since.isoformat())


def _past_event(row: tuple[Any, ...]) -> PastEvent:
    number, cause, envelope = row
    return PastEvent(number, cause, decode(envelope), [])


class _Rebuilt:
    """A history made of what a file says of one event and of what it caused."""

    def __init__(self, past: PastEvents, event: EventEnvelope) -> None:
        self._past = past
        self._event = event
        self.history = History()
        self.cut: dict[str, None] = {}

    def build(self) -> None:
        """Fill the history, the causes before what they caused."""
        number = self._past.number_of(self._event.event_id)
        caused = {} if number is None else self._past.caused_after(number)
        if number is not None and self._past.causes_beyond(number):
            self._leave_out(
                f"events that were published more than {ROWS_LOOKED_AT:,} events after it are not looked for"
            )
        waiting: list[tuple[EventEnvelope, Invocation | None]] = [(self._event, None)]
        for _ in range(EVENTS_OF_TRACE):
            if not waiting:
                return
            event, publisher = waiting.pop(0)
            token = current_invocation.set(publisher)
            try:
                self.history.note_event(event)
            finally:
                current_invocation.reset(token)
            runs = self._past.runs_of(event.event_id, RUNS_READ + 1)
            if len(runs) > RUNS_READ:
                self._leave_out(f"only the newest {RUNS_READ:,} runs of one event are read from the journal")
                del runs[0]
            for stored in runs:
                run = self._run(stored, event)
                waiting += [(one, run) for one in self._past.in_rows(caused.get(stored.id, ()))]
        if waiting:
            self._leave_out(f"only the first {EVENTS_OF_TRACE:,} events are read from the journal")

    def _leave_out(self, text: str) -> None:
        self.cut[text] = None

    def _run(self, stored: StoredInvocation, event: EventEnvelope) -> Invocation:
        duration = max(0.0, stored.duration or 0.0)
        run = Invocation(
            worker=stored.worker,
            handler=stored.handler,
            cause="event",
            event=event,
            generation=stored.generation,
            remote_id=stored.id,
            started_at=_posix(stored.at, event) - duration,
            muted=True,  # which has it keep its lines itself
        )
        self.history.begin(run)
        for number, text in enumerate(stored.logs, 1):
            run.note_log(LogLine(number, stored.worker, "stdout", text, invocation_id=stored.id))
        outcome: Any = stored.outcome if stored.outcome in _OUTCOMES else "ok"
        error = None if stored.error is None else _error_of(stored.error)
        self.history.finish(run, outcome, error, duration=duration, expected=True)
        return run


def _posix(at: str, event: EventEnvelope) -> float:
    """Return when a run ended; the file is anybody's, and a time that is none counts as that of the event."""
    try:
        found = datetime.fromisoformat(at)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return event.timestamp.timestamp()


def _error_of(stored: dict[str, Any]) -> HandlerError:
    try:
        return msgspec.convert(stored, HandlerError)
    except (msgspec.ValidationError, RecursionError):
        return HandlerError(str(stored.get("type", "an error")), str(stored.get("message", "")), ())
