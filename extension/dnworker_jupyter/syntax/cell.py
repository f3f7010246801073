"""`Cell`: a cell as it was last run; the kernel keeps them, live workers and exports are made of them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Cell(msgspec.Struct, frozen=True):
    """One cell as it was last run.

    `number` is its execution count; `id` is the front end's, where it sends one.
    `failed_at` is the line, from 1, at which the run ended with an error; None where it ran to its end.
    `by` is the agent that ran it; None where a person did.
    """

    number: int
    source: str
    id: str | None = None
    failed_at: int | None = None
    by: str | None = None

    @property
    def key(self) -> str:
        """What makes it the same cell when it runs again: its id, else its exact text."""
        return self.id or f"text:{hash(self.source):x}"

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"cell [{self.number}]"


class LeftOut(NamedTuple):
    """A handler that a cell registers, and that runs no more: `%worker remove` took it out."""

    worker: str
    cell: Cell
    name: str
    trigger: str
    """What it was registered for, such as `on_event a`."""
    line: int | None
    """The line of its cell that its definition begins on; None where that cannot be told."""
    is_alone: bool
    """Whether nothing that stands there runs: no other decorator of it, no other round of a loop."""
