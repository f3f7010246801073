"""`Made`: what is open in the page, and by which run of which cell each was made; hub and panels keep one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from dnworker_jupyter.syntax.cell import Cell


class Closable(Protocol):
    """What can be open in the page."""

    def close(self) -> None:
        """Close it."""


T = TypeVar("T", bound=Closable)


class Made(Generic[T]):
    """What is open, in the order in which it was made."""

    def __init__(self) -> None:
        self._runs: dict[T, Cell | None] = {}  # each run of a cell has a `Cell` of its own

    def __iter__(self) -> Iterator[T]:
        return iter([*self._runs])  # a copy: who is closed is forgotten meanwhile

    def __len__(self) -> int:
        return len(self._runs)

    def note(self, one: T, run: Cell | None) -> None:
        """Keep one, made by a run of a cell; None where no cell made it."""
        self._runs[one] = run

    def forget(self, one: T) -> None:
        """Keep one no longer: it is closed."""
        self._runs.pop(one, None)

    def close_earlier(self, run: Cell) -> None:
        """Close what earlier runs of the same cell have made."""
        for one, made_by in [*self._runs.items()]:
            if made_by is not None and made_by is not run and made_by.key == run.key:
                one.close()
                self.forget(one)
