"""`Matching`: finds what workers here would publish among events of a runtime that tells no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from dnworker.attach.comparing import Comparing, Pending
from dnworker.attach.likeness import difference
from dnworker.attach.sides import Act, is_like, published
from dnworker.core.envelope import EventEnvelope, size_of
from dnworker.core.text import shorten

WINDOW = 10.0
"""Seconds after an event in which what the deployed worker publishes for it must have come."""

EVENTS_KEPT, BYTES_KEPT = 10_000, 32_000_000
"""Events, and bytes of them, among which is searched."""

KINDS_WATCHED = 200
"""Kinds that handlers publish which are followed, too."""

GAPS_KEPT = 1_000


@dataclass(eq=False)
class _Heard:
    event: EventEnvelope
    at: float
    size: int
    is_taken: bool = False


class Matching:
    """Decides on rows by the events that came after theirs.

    Whether such an event came of the deployed worker is not said; so a row is `same` only where the
    notebook's worker publishes, and all of that was published there, too.

    Args:
        comparing: whose rows are decided.
        now: the loop's clock.
        on_kinds: called after more kinds are to be followed.
    """

    def __init__(
        self, comparing: Comparing, now: Callable[[], float], on_kinds: Callable[[], object]
    ) -> None:
        self._comparing = comparing
        self._now = now
        self._on_kinds = on_kinds
        self._watched: dict[str, float] = {}
        self._heard: deque[_Heard] = deque()
        self._bytes = 0
        self._gaps: deque[float] = deque(maxlen=GAPS_KEPT)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that are followed for this."""
        return frozenset(self._watched)

    def watch(self, kind: str) -> None:
        """Follow a kind that a handler would publish."""
        if kind not in self._watched and len(self._watched) < KINDS_WATCHED:
            self._watched[kind] = self._now() + 1.0  # until the stream of it is open
            self._on_kinds()

    def hear(self, envelope: EventEnvelope) -> None:
        """Keep an event that may have been published by a deployed worker."""
        if envelope.kind not in self._watched:
            return
        self._heard.append(one := _Heard(envelope, self._now(), size_of(envelope)))
        self._bytes += one.size
        while len(self._heard) > EVENTS_KEPT or self._bytes > BYTES_KEPT:
            self._forget(self._now())

    def miss(self) -> None:
        """Note that events were missed now: what did not come may have been among them."""
        self._gaps.append(self._now())

    def round(self) -> None:
        """Decide on what can be decided by now."""
        now = self._now()
        while self._heard and self._heard[0].at < now - 6 * WINDOW:
            self._forget(None)
        for pending in sorted(self._comparing.waiting(), key=lambda one: one.seq):
            self._decide(pending, is_over=now > max(pending.arrived, pending.since - WINDOW) + WINDOW)

    def _forget(self, lost_at: float | None) -> None:
        oldest = self._heard.popleft()
        self._bytes -= oldest.size
        if lost_at is not None and oldest.at > lost_at - WINDOW and not oldest.is_taken:
            self._gaps.append(lost_at)

    def _decide(self, pending: Pending, *, is_over: bool) -> None:
        here = pending.here
        assert here is not None
        acts = [act for act in here.acts if act.what == "publishes"]
        for act in acts:
            self.watch(act.kind)
        if here.lacks or not acts:
            why = (
                here.lacks or "it publishes nothing, and that runtime does not say what the deployed one does"
            )
            self._comparing.settle(pending, None, "unknown", why)
            return
        taken = list[_Heard]()
        missing = [act for act in acts if not self._find(pending, act, taken)]
        if missing and not is_over:
            for one in taken:
                one.is_taken = False
            return
        lines = [_line(one.event) for one in taken]
        if not missing:
            other = next((act for act in here.acts if act.what not in ("publishes", "once")), None)
            if other is None:
                self._comparing.settle(
                    pending, lines, "same", "all that it publishes was published there, too"
                )
            else:
                why = shorten(
                    f"that runtime does not say whether the deployed one did this: {other.line}", 200
                )
                self._comparing.settle(pending, lines, "unknown", why)
            return
        self._settle_missing(pending, missing[0], lines)

    def _settle_missing(self, pending: Pending, act: Act, lines: list[str]) -> None:
        if why := self._why_unknown(pending, act):
            self._comparing.settle(pending, lines or None, "unknown", why)
            return
        other = next(
            (one for one in self._after(pending, act) if self._is_of_session(one, act, pending)), None
        )
        if other is None:
            why = f"no {act.kind} like it came within {WINDOW:g} s; only the notebook's {act.line}"
        else:
            other.is_taken = True
            lines = [*lines, _line(other.event)]
            why = f"{act.kind}: {difference(other.event.payload, act.payload, pending.known)}"
        self._comparing.settle(pending, lines, "different", shorten(why, 300))

    def _why_unknown(self, pending: Pending, act: Act) -> str:
        if act.is_deduped:
            return f"{act.kind} has a key, and may have been published before, there"
        since = self._watched.get(act.kind)
        if since is None or since > pending.arrived:
            return f"{act.kind} was not followed yet when the event came"
        if any(pending.arrived <= at <= pending.arrived + WINDOW for at in self._gaps):
            return "events were missed meanwhile"
        return ""

    def _find(self, pending: Pending, act: Act, taken: list[_Heard]) -> bool:
        for one in self._after(pending, act):
            event = one.event
            if is_like(published(event.kind, event.payload, event.session_id), act, pending.known):
                one.is_taken = True
                taken.append(one)
                return True
        return False

    def _after(self, pending: Pending, act: Act) -> list[_Heard]:
        """Return what nothing has taken yet of the act's kind, from the event to the end of its window."""
        event = pending.row.event
        return [
            one
            for one in self._heard
            if not one.is_taken
            and one.event.kind == act.kind
            and one.event.seq > event.seq
            and (one.event.timestamp - event.timestamp).total_seconds() <= WINDOW
        ]

    @staticmethod
    def _is_of_session(one: _Heard, act: Act, pending: Pending) -> bool:
        return difference(one.event.session_id, act.session_id, pending.known) is None


def _line(event: EventEnvelope) -> str:
    return published(event.kind, event.payload, event.session_id).line
