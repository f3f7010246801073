"""`KeptGenerations`: the generations that a `LiveWorker` can go back to, and that the panel compares."""

from __future__ import annotations

from collections.abc import Sequence

from dnworker.core.errors import UsageError
from dnworker_jupyter.live.generations import Generation


class KeptGenerations:
    """The newest generations that have run, also those that a rollback has left.

    Args:
        name: of the worker, for what is refused.
        most: how many are kept.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._kept: dict[int, Generation] = {}

    def add(self, generations: Sequence[Generation]) -> None:
        """Keep the generations that a rollback goes through, of which the last one runs now."""
        self._kept = self.all(generations)
        while len(self._kept) > self._most:
            del self._kept[min(self._kept)]

    def all(self, generations: Sequence[Generation]) -> dict[int, Generation]:
        """Return all of them by number, in order, with `generations` as they are now."""
        found = self._kept | {one.number: one for one in generations if one.registrations}
        return dict(sorted(found.items()))

    def find(self, generations: Sequence[Generation], number: int | None) -> Generation:
        """Return the generation of a number, or the one before the last of `generations`.

        Raises:
            UsageError: there is none, or it runs already.
        """
        present = generations[-1].number
        if number is None:
            if len(generations) == 1:
                raise UsageError(
                    f"worker {self._name!r} has no earlier generation to go back to", code="DN112"
                )
            return generations[-2]
        if number == present:
            raise UsageError(f"worker {self._name!r} runs generation {number} already", code="DN112")
        kept = self.all(generations)
        if number not in kept:
            others = ", ".join(str(one) for one in kept if one != present) or "none"
            raise UsageError(
                f"worker {self._name!r} keeps no generation {number}; there are: {others}", code="DN112"
            )
        return kept[number]
