"""`Comparing`: the events that were compared and how that went, for one attachment; bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnworker.attach.facts import ComparedEvent, Score, Verdict
from dnworker.attach.likeness import ids_in, known_in
from dnworker.attach.shadow_connection import Effect, Effects
from dnworker.attach.sides import Act, Run, Side, act_of, judge, raised
from dnworker.core.envelope import EventEnvelope, size_of
from dnworker.core.text import shorten

if TYPE_CHECKING:
    from dnworker.core.invocation import Invocation
    from dnworker.events.history import History

ROWS_KEPT, BYTES_KEPT = 10_000, 64_000_000
"""Compared events that are kept, and bytes of them; counts run on."""

LINES_KEPT = 200
"""Lines of one side that a row keeps."""

ROW_BYTES = 1_000
"""Bytes of a row beside its payload and its lines."""

SECOND_LOOK = 2.0
"""Seconds after a verdict when both sides are compared again: tasks that handlers start go on after them."""

SECOND_LOOKS_KEPT = 10_000
"""Rows that wait for that; beyond, the oldest are compared once."""

WAITS_FOR_HANDLERS = "its handlers run"
WAITS_FOR_DEPLOYED = "waits for what the deployed worker does"


@dataclass(eq=False)
class Pending:
    """One row without a verdict."""

    row: ComparedEvent
    arrived: float = 0.0
    """When the event came, by the loop's clock."""
    here: Side | None = None
    """What the notebook's worker did; None while its handlers run."""
    since: float = 0.0
    """When that was known, by the loop's clock."""
    asked: int = 0
    """How often the other runtime was asked, and had not settled."""
    due: float = 0.0
    """When it is asked next."""
    is_decided: bool = False
    """Whether it has a verdict, and is compared a second time."""

    @property
    def seq(self) -> int:
        """The number of the event, there."""
        return self.row.event.seq

    @property
    def known(self) -> set[str]:
        """The ids and times that mean the same on both sides."""
        event = self.row.event
        return known_in(event.payload) | ids_in([event.session_id or "", event.turn_id or ""])


class Comparing:
    """Keeps rows, counts verdicts, and reads from the history what the notebook's handlers did.

    Args:
        history: of this runtime.
        effects: what shadows would have done.
        now: the loop's clock.
        on_change: called after rows have changed.
    """

    def __init__(
        self, history: History, effects: Effects, now: Callable[[], float], on_change: Callable[[], object]
    ) -> None:
        self._history = history
        self._effects = effects
        self._now = now
        self._on_change = on_change
        self.score = Score()
        self._rows: dict[tuple[str, str], ComparedEvent] = {}
        self._sizes: dict[tuple[str, str], int] = {}
        self._bytes = 0
        self._pending: dict[tuple[str, str], Pending] = {}
        self._again: dict[tuple[str, str], Pending] = {}
        effects.late = self._note_late

    def add(self, envelope: EventEnvelope, copy: EventEnvelope, workers: Iterable[str]) -> None:
        """Begin to compare what workers do with an event."""
        for worker in workers:
            row = ComparedEvent(envelope, copy.event_id, worker, why=WAITS_FOR_HANDLERS)
            key = copy.event_id, worker
            self._rows[key], self._pending[key] = row, Pending(row, self._now())
            self._grow(key, ROW_BYTES + size_of(envelope))
            self._count(worker, "pending", 1)
        self._shrink()
        self._on_change()

    def end(self, event_id: str) -> None:
        """Read what the handlers of a copy did: they have ended."""
        for key in [key for key in self._workers_of(event_id) if key in self._pending]:
            pending = self._pending[key]
            pending.here, pending.since = self._side(event_id, key[1]), self._now()
            pending.row.notebook, pending.row.why = _shown(pending.here.lines), WAITS_FOR_DEPLOYED
            self._grow(key, sum(map(len, pending.row.notebook)))
        self._shrink()
        self._on_change()

    def _workers_of(self, event_id: str) -> Iterator[tuple[str, str]]:
        workers = [*self.score.by_worker]
        return ((event_id, worker) for worker in workers)

    def waiting(self) -> list[Pending]:
        """Return rows whose handlers have ended, in the order of their events, the oldest first."""
        return [one for one in self._pending.values() if one.here is not None]

    def second_looks(self) -> list[Pending]:
        """Return rows that have a verdict and are compared once more when they are due, the oldest first."""
        return [*self._again.values()]

    def decide(self, pending: Pending, there: Side | None, why: str = "") -> None:
        """Give a row its verdict.

        Args:
            pending: whose handlers have ended.
            there: what the deployed worker did; None where that cannot be known.
            why: why it cannot.
        """
        assert pending.here is not None
        if there is None:
            self.settle(pending, None, "unknown", why)
            return
        verdict, reason = judge(there, pending.here, pending.known)
        if pending.is_decided:
            self._again.pop((pending.row.local_event_id, pending.row.worker), None)
            self._revise(pending.row, there.lines, verdict, reason)
            return
        self.settle(pending, there.lines, verdict, reason)
        if verdict != "unknown":
            pending.is_decided, pending.due = True, self._now() + SECOND_LOOK
            self._again[pending.row.local_event_id, pending.row.worker] = pending
            if len(self._again) > SECOND_LOOKS_KEPT:
                del self._again[next(iter(self._again))]

    def leave(self, pending: Pending) -> None:
        """Let a verdict stand: the other runtime tells no more about it."""
        self._again.pop((pending.row.local_event_id, pending.row.worker), None)

    def _revise(self, row: ComparedEvent, deployed: list[str] | None, verdict: Verdict, why: str) -> None:
        self._count(row.worker, row.verdict, -1)
        self._count(row.worker, verdict, 1)
        before = sum(map(len, row.deployed or ()))
        row.deployed, row.verdict, row.why = None if deployed is None else _shown(deployed), verdict, why
        self._grow((row.local_event_id, row.worker), sum(map(len, row.deployed or ())) - before)
        self._on_change()

    def _note_late(self, worker: str, invocation: Invocation, effect: Effect) -> bool:
        """Add what a task did after the handler that started it had ended."""
        key = "" if invocation.event is None else invocation.event.event_id, worker
        pending = self._pending.get(key) or self._again.get(key)
        if pending is not None and pending.here is None:
            return False  # other handlers of the event run; it is read at their end
        if (row := self._rows.get(key)) is None:
            return False
        act = act_of(effect)
        if len(row.notebook) < LINES_KEPT:
            row.notebook = [*row.notebook, act.line]
            self._grow(key, len(act.line))
        if pending is not None and pending.here is not None:
            pending.here = pending.here.with_act(invocation.handler, act)
        elif row.verdict != "pending":
            why = shorten(f"a task here did more after this was compared: {act.line}", 200)
            self._revise(row, row.deployed, "unknown", why)
        self._on_change()
        return True

    def settle(self, pending: Pending, deployed: list[str] | None, verdict: Verdict, why: str) -> None:
        """Note the verdict on a row."""
        row = pending.row
        if self._pending.pop((row.local_event_id, row.worker), None) is None:
            return
        row.deployed, row.verdict, row.why = None if deployed is None else _shown(deployed), verdict, why
        self._grow((row.local_event_id, row.worker), sum(map(len, row.deployed or ())))
        self._count(row.worker, "pending", -1)
        self._count(row.worker, verdict, 1)
        self._on_change()

    def give_up(self, why: str) -> None:
        """Note of all that have no verdict that they get none."""
        for pending in [*self._pending.values()]:
            self.settle(pending, None, "unknown", why)

    def rows(self, last: int, *, only_different: bool, worker: str | None) -> list[ComparedEvent]:
        """Return the newest rows, the oldest first."""
        found = list[ComparedEvent]()
        for row in reversed(self._rows.values()):
            if len(found) >= last:
                break
            is_meant = worker is None or worker in (row.worker, row.worker.rpartition(":")[2])
            if is_meant and (row.verdict == "different" or not only_different):
                found.append(row)
        return found[::-1]

    def _grow(self, key: tuple[str, str], size: int) -> None:
        if key in self._rows:
            self._sizes[key] = self._sizes.get(key, 0) + size
            self._bytes += size

    def _shrink(self) -> None:
        """Forget the oldest rows beyond the bounds."""
        while len(self._rows) > ROWS_KEPT or (self._bytes > BYTES_KEPT and len(self._rows) > 1):
            key = next(iter(self._rows))
            del self._rows[key]
            self._bytes -= self._sizes.pop(key)
            if (pending := self._pending.get(key)) is not None:
                self.settle(pending, None, "unknown", "too many newer events came before it was compared")

    def _count(self, worker: str, verdict: Verdict, by: int) -> None:
        for score in (self.score, self.score.by_worker.setdefault(worker, Score())):
            setattr(score, verdict, getattr(score, verdict) + by)

    # -- the side of the notebook ----------------------------------------------------------------------

    def _side(self, event_id: str, worker: str) -> Side:
        history = self._history
        runs = [one for one in history.invocations_of(event_id) if one.worker == worker]
        event = history.peek(event_id)
        lacks = ""
        if event is None or history.runs_lost(event_id).runs:
            lacks = "its runs here are not kept any more"
        elif not runs:
            losses = [one for one in history.losses_of(event_id) if worker in one]
            lacks = losses[0] if losses else "no handler here has run for it"
        elif any(one.outcome == "cancelled" for one in runs):
            lacks = "a handler here was cancelled"
        effects = {one.id: self._effects.take(one.id) for one in runs}
        if None in effects.values():
            lacks = lacks or "a handler here did too much to keep all of it"
        return Side(tuple(_run(one, effects[one.id] or []) for one in runs), lacks)


def _run(run: Invocation, effects: list[Effect]) -> Run:
    acts: list[Act] = [act_of(effect) for effect in effects]
    errors = [one for one in (run.error, *run.unhandled) if one is not None]
    return Run(run.handler, (*acts, *(raised(f"{one.type}: {one.message}") for one in errors)))


def _shown(lines: list[str]) -> list[str]:
    """Return the lines that a row keeps; the last says how many more there were."""
    if len(lines) <= LINES_KEPT:
        return lines
    return [*lines[: LINES_KEPT - 1], f"and {len(lines) - LINES_KEPT + 1:,} more"]
