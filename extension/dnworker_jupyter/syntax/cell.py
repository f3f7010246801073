"""`Cell`: a cell as it was last run; the kernel keeps them, live workers and exports are made of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell as it was last run.

    `number` is its execution count; `id` is the front end's, where it sends one.
    `failed_at` is the line, from 1, at which the run ended with an error; None where it ran to its end.
    """

    number: int
    source: str
    id: str | None = None
    failed_at: int | None = None

    @property
    def key(self) -> str:
        """What makes it the same cell when it runs again: its id, else its exact text."""
        return self.id or f"text:{hash(self.source):x}"

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"cell [{self.number}]"
