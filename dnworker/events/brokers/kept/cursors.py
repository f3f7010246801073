"""`Cursor`: how far a worker is, as a broker keeps it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Invalid
from dnworker.core.members import Share, family_of
from dnworker.events.brokers.base import BEGINNING, NOW, CursorInfo
from dnworker.events.brokers.kept.former import FormerKinds


def begin_of(start: int, newest: int) -> int:
    """Return the `seq` after which a worker begins that is told `start`, where `newest` is the newest event.

    Raises:
        Invalid: there is no such event yet.
    """
    if start > newest or start < NOW:
        raise Invalid(f"there is no event {start} yet; the newest is {newest}", code="DN708")
    return newest if start == NOW else max(BEGINNING, start)


class Reader(Protocol):
    """A consumer, which knows more than was noted of it."""

    def close(self) -> None:
        """Receive nothing more."""

    def note_position(self) -> None:
        """Bring the cursor up to date."""


class Outstanding(msgspec.Struct, array_like=True):
    """An event that a worker has not handled, though it has handled later ones or was given it before."""

    deliveries: int
    """How often it was given to it, or may have been."""
    not_before: float | None = None
    """The time of the clock before which it does not come again."""
    ended: list[str] = []
    """The handlers that have ended well with it."""
    is_passed: bool = False
    """Whether it is not among those that are read after `handled_to`: its kind begins later since."""
    kind: str = ""
    """Its kind, where the worker is known to name that no more."""


class Cursor:
    """What is known of a worker; changed on the loop only.

    All events up to `handled_to` are handled, but for `outstanding`; none after it is. Those up to `taken_to`
    were given to it once, where `outstanding` does not say how often; with `is_live` those after that, too.
    """

    def __init__(self, worker: str, kinds: dict[str | None, int], start: int, seen_at: str) -> None:
        self.worker = worker
        self.share = Share()
        """Which of its events are its own, where the worker has several members."""
        self.kinds = kinds
        """The `seq` since which it listens to each kind; to all under None."""
        self.handled_to = start
        self.taken_to = start
        self.is_live = False
        self.outstanding: dict[int, Outstanding] = {}
        self._new_since: dict[str | None, int] = {}
        """Of kinds that were added: the `seq` up to which none was given, whatever `taken_to` says."""
        self._given_before: dict[str | None, int] = {}
        """Of kinds that came back: the `seq` up to which some may have been given all the same."""
        self.former = FormerKinds()
        """Kinds that it names no more."""
        self.returned: list[str] = []
        """Those that it names again, until that is told."""
        self.had_former = False
        """Whether there ever were any: what is written of them may have to be removed."""
        self.seen_at = seen_at
        self.consumer: Reader | None = None
        """The consumer that is open."""
        self.last: object | None = None
        """The newest one: what it has not handled may still end when it is closed."""

    def info(self) -> CursorInfo:
        """Return it as it is shown; of what waits, only those up to `handled_to` are counted."""
        return CursorInfo(
            worker=self.worker,
            kinds=None if None in self.kinds else sorted(kind for kind in self.kinds if kind is not None),
            handled_to=self.handled_to,
            outstanding=sorted(self.outstanding),
            pending=sum(seq <= self.handled_to for seq in self.outstanding),
            seen_at=self.seen_at,
            is_here=self.consumer is not None,
            former=self.former.counts(),
        )

    @property
    def names(self) -> frozenset[str] | None:
        """The kinds that it listens to; None for all."""
        return None if None in self.kinds else frozenset(kind for kind in self.kinds if kind is not None)

    @property
    def family(self) -> str:
        """The worker that it is of; events that are for one worker alone name that one."""
        return family_of(self.worker)

    def gets(self, envelope: EventEnvelope) -> bool:
        """Return whether an event is its own, of a kind that it listened to by then."""
        return self.wants(envelope.kind, envelope.seq) and self.share.has(envelope)

    def wants(self, kind: str, seq: int) -> bool:
        """Return whether an event is of a kind that it listened to by then."""
        since = self.kinds.get(kind, self.kinds.get(None))
        if since is None or seq <= since:
            return False
        return not self.former.gaps or not self.former.is_in_gap(kind, seq)

    def may_have_been_given(self, kind: str, seq: int, taken_to: int) -> bool:
        """Return whether an event up to `taken_to` is of a kind that it listened to by then."""
        name = kind if kind in self.kinds else None
        return self._new_since.get(name, 0) < seq <= taken_to or seq <= self._given_before.get(name, 0)

    def listen(
        self,
        kinds: dict[str | None, int],
        newest: int,
        *,
        taken_to: int | None = None,
        lets_go: bool = False,
        is_trial: bool = False,
    ) -> None:
        """Listen to these kinds; those that it listens to already go on, the others begin where they say.

        What begins before what is handled moves that back, and the other kinds begin there anew instead; what
        is outstanding of these comes by itself. What it has not handled of kinds that it names no more waits
        until they are named again.

        Args:
            kinds: by name, each with the `seq` after which it begins; all under None.
            newest: the newest event: later ones of kinds that it does not name are not for it.
            taken_to: the `seq` up to which events may have been given to it; by default as it is noted.
            lets_go: whether what it has not handled of kinds that it names no more is let go.
            is_trial: whether what waits of kinds that it names again does not come yet.
        """
        if not lets_go:
            left = [kind for kind in self.kinds if kind not in kinds and None not in kinds]
            self._leave(left, newest, self.taken_to if taken_to is None else taken_to)
        if not is_trial:
            kinds = self._come_back(kinds)
        back = min(
            (since for kind, since in kinds.items() if kind not in self.kinds and None not in self.kinds),
            default=self.handled_to,
        )
        self._new_since = {
            kind: self._new_since.get(kind, 0) if kind in self.kinds or None in self.kinds else self.taken_to
            for kind in kinds
        }
        if back < self.handled_to:
            self._go_back(back, kinds)
        before, every = self.kinds, self.kinds.get(None)
        self.kinds = {
            kind: before.get(kind, since if every is None else every) for kind, since in kinds.items()
        }
        if None in kinds:  # which some kinds that it has named are before
            self.kinds = before | self.kinds

    def _go_back(self, handled_to: int, kinds: dict[str | None, int]) -> None:
        """Begin anew before what is handled, for kinds that are new."""
        for seq, entry in self.outstanding.items():
            is_read_again = entry.kind in kinds and seq > kinds[entry.kind]
            entry.is_passed = not is_read_again and (entry.is_passed or seq <= self.handled_to)
        self.kinds = {kind: max(since, self.handled_to) for kind, since in self.kinds.items()}
        self.handled_to = handled_to

    def _leave(self, kinds: list[str | None], newest: int, taken_to: int) -> None:
        """Keep what it has not handled of kinds that it names no more."""
        for kind in kinds:
            since = max(self.kinds[kind], self.handled_to)
            if kind is not None and (since < newest or self.outstanding):
                self.former.leave(kind, since, newest, taken_to)
        self.had_former = self.had_former or bool(self.former)

    def _come_back(self, kinds: dict[str | None, int]) -> dict[str | None, int]:
        """Return where kinds begin, also those of which events wait since it named them before."""
        self.former.forget_gaps(self.handled_to)
        found = dict(kinds)
        for kind in [*self.former.kinds] if None in kinds else [*kinds]:
            if kind not in self.former.kinds:
                continue
            begin = kinds.get(kind, kinds.get(None, 0))
            if (since := self.kinds.pop(kind, None)) is not None:  # of a trial, which is over
                begin = max(since, self.handled_to)
            if (former := self.former.come_back(kind, begin)) is not None:
                found[kind] = min(former.since, begin)
                self._given_before[kind] = former.taken_to
                self.returned.append(kind)
        return found

    def keep_aside(self, kind: str, seq: int) -> bool:
        """Return whether an event that is outstanding waits for its kind to be named again, for good."""
        former = self.former.kinds.get(kind)
        return former is not None and seq <= former.upto

    def is_left(self, seq: int, entry: Outstanding) -> bool:
        """Return whether an event that is outstanding is of a kind that it names no more, or only on trial.

        Of one that is not, it is noted whether those that are read after `handled_to` have it again.
        """
        if entry.kind and self.hears(entry.kind) and not self.keep_aside(entry.kind, seq):
            entry.is_passed, entry.kind = not self.wants(entry.kind, seq), ""
        return bool(entry.kind)

    def hears(self, kind: str | None) -> bool:
        """Return whether it listens to a kind, None for all, since whatever time."""
        return kind in self.kinds or None in self.kinds

    def forget_additions(self) -> None:
        """Have every kind be one that it listened to all the time, as where it was read again."""
        self._new_since, self._given_before = {}, {}

    def reset(self, start: int) -> None:
        """Begin at a `seq` as if it had never been given an event."""
        self.kinds = dict.fromkeys(self.kinds, start)
        self.handled_to = self.taken_to = start
        self.outstanding, self._new_since, self._given_before = {}, {}, {}
        self.former = FormerKinds()
