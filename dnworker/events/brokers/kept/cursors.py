"""`Cursor`: how far a worker is, as a broker keeps it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Invalid
from dnworker.core.members import Share, family_of
from dnworker.events.brokers.base import BEGINNING, NOW, CursorInfo


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
        return since is not None and seq > since

    def may_have_been_given(self, kind: str, seq: int, taken_to: int) -> bool:
        """Return whether an event up to `taken_to` is of a kind that it listened to by then."""
        return self._new_since.get(kind if kind in self.kinds else None, 0) < seq <= taken_to

    def listen(self, kinds: dict[str | None, int]) -> None:
        """Listen to these kinds; those that it listens to already go on, the others begin where they say.

        What begins before what is handled moves that back, and the other kinds begin there anew instead; what
        is outstanding of these comes by itself.
        """
        back = min(
            (since for kind, since in kinds.items() if kind not in self.kinds and None not in self.kinds),
            default=self.handled_to,
        )
        self._new_since = {
            kind: self._new_since.get(kind, 0) if kind in self.kinds or None in self.kinds else self.taken_to
            for kind in kinds
        }
        if back < self.handled_to:
            for seq, entry in self.outstanding.items():
                entry.is_passed = entry.is_passed or seq <= self.handled_to
            self.kinds = {kind: max(since, self.handled_to) for kind, since in self.kinds.items()}
            self.handled_to = back
        before, every = self.kinds, self.kinds.get(None)
        self.kinds = {
            kind: before.get(kind, since if every is None else every) for kind, since in kinds.items()
        }
        if None in kinds:  # which some kinds that it has named are before
            self.kinds = before | self.kinds

    def hears(self, kind: str | None) -> bool:
        """Return whether it listens to a kind, None for all, since whatever time."""
        return kind in self.kinds or None in self.kinds

    def forget_additions(self) -> None:
        """Have every kind be one that it listened to all the time, as where it was read again."""
        self._new_since = {}

    def reset(self, start: int) -> None:
        """Begin at a `seq` as if it had never been given an event."""
        self.kinds = dict.fromkeys(self.kinds, start)
        self.handled_to = self.taken_to = start
        self.outstanding, self._new_since = {}, {}
