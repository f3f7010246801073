"""`FormerKinds`: kinds that a worker listened to and names no more, whose events may still wait for it.

A new version of a worker may lack a handler that the one before had. What was accepted for that handler is
kept until a version names the kind again, or until the bounds of the broker let it go; a `Cursor` has these.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

MOST_KINDS = 1_000
"""Former kinds of one worker; beyond, the one that was named longest ago is let go, and counted."""

MOST_GAPS = 16
"""Times in which a worker did not name a kind while older events of it wait; beyond, the oldest is forgotten,
and the worker gets what was published in it."""


class Former(msgspec.Struct, array_like=True):
    """What may wait of a kind that a worker names no more."""

    since: int
    upto: int
    """The first of them is after `since`, the last is `upto` at most: what came later nobody listened to."""
    taken_to: int
    """The `seq` up to which they may have been given to it once."""
    count: int = -1
    """How many waited when it was counted; -1 before that, and before anybody was told."""
    oldest: str = ""
    newest: str = ""
    """When the first and the last of them were published, as ISO 8601 in UTC."""


class FormerKinds(msgspec.Struct):
    """The former kinds of a worker, and when it did not listen to kinds that it had named before."""

    kinds: dict[str, Former] = {}
    gaps: dict[str, list[tuple[int, int]]] = {}
    """Events of a kind after the one `seq` up to the other were published while it was not named."""

    def __bool__(self) -> bool:
        return bool(self.kinds or self.gaps)

    def leave(self, kind: str, since: int, newest: int, taken_to: int) -> None:
        """Note that a kind is named no more, whose events after `since` are not handled."""
        self.kinds.pop(kind, None)  # it is the newest of all again
        self.kinds[kind] = Former(since, max(since, newest), min(taken_to, newest))

    def overflow(self) -> list[tuple[str, Former]]:
        """Forget the kinds that are too many, and return them."""
        gone = [*self.kinds.items()][: max(0, len(self.kinds) - MOST_KINDS)]
        for kind, _ in gone:
            self.forget(kind)
        return gone

    def come_back(self, kind: str, begin: int) -> Former | None:
        """Note that a kind is named again and begins after `begin`; return what waits from before, if any."""
        former = self.kinds.pop(kind, None)
        if former is not None and begin > former.upto:
            self.gaps[kind] = [*self.gaps.get(kind, ()), (former.upto, begin)][-MOST_GAPS:]
        return former

    def forget(self, kind: str) -> None:
        """Let go what waits of a kind."""
        self.kinds.pop(kind, None)
        self.gaps.pop(kind, None)

    def forget_gaps(self, handled_to: int) -> None:
        """Forget the gaps that everything named is behind."""
        for kind in [kind for kind in self.gaps if kind not in self.kinds]:
            self.gaps[kind] = [gap for gap in self.gaps[kind] if gap[1] > handled_to]
            if not self.gaps[kind]:
                del self.gaps[kind]

    def is_in_gap(self, kind: str, seq: int) -> bool:
        """Return whether an event was published while the worker did not name its kind."""
        return any(low < seq <= high for low, high in self.gaps.get(kind, ()))

    def waits(self, kind: str, seq: int) -> bool:
        """Return whether an event waits for a version that names its kind again."""
        former = self.kinds.get(kind)
        return former is not None and former.since < seq <= former.upto and not self.is_in_gap(kind, seq)

    def counts(self) -> dict[str, int]:
        """Return how many events of each kind wait, of those that were counted."""
        return {kind: former.count for kind, former in self.kinds.items() if former.count > 0}


def joined(every: Iterable[FormerKinds]) -> FormerKinds:
    """Return what may wait for a worker whose members have these; it may be more than what does."""
    kinds: dict[str, Former] = {}
    gaps: dict[str, list[tuple[int, int]]] = {}
    for one in every:
        for kind, former in one.kinds.items():
            known = kinds.get(kind, former)
            kinds[kind] = Former(
                min(known.since, former.since),
                max(known.upto, former.upto),
                max(known.taken_to, former.taken_to),
            )
        for kind, found in one.gaps.items():
            gaps[kind] = [gap for gap in gaps.get(kind, found) if gap in found]
    return FormerKinds(kinds, {kind: found for kind, found in gaps.items() if found})
