"""`attack`: declares one attack; `Scale`: how much of it to run."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import tests.attack


@dataclass(frozen=True)
class Scale:
    """Whether an attack runs in its short form, of a few seconds, and where it may write."""

    short: bool
    directory: Path

    def of(self, full: int, short: int) -> int:
        """Return the number that fits."""
        return short if self.short else full


Held = str
"""What held, with its figures: one line without a full stop."""


@dataclass(frozen=True)
class Attack:
    """One attack: `run` returns what held, and raises AssertionError with what did not."""

    name: str
    run: Callable[[Scale], Awaitable[Held]]
    limit: float
    """Seconds after which it hangs; the short form gets as many."""
    needs: Callable[[], str | None]
    """Returns why it cannot run here, such as a missing program; None if it can."""

    @property
    def title(self) -> str:
        """The first line of its docstring."""
        return (self.run.__doc__ or "").strip().partition("\n")[0].rstrip(".")


ATTACKS: dict[str, Attack] = {}


def attack(
    *, limit: float = 120, needs: Callable[[], str | None] = lambda: None
) -> Callable[[Callable[[Scale], Awaitable[Held]]], Callable[[Scale], Awaitable[Held]]]:
    """Declare the coroutine function below as an attack, known by `file.function`."""

    def declare(run: Callable[[Scale], Awaitable[Held]]) -> Callable[[Scale], Awaitable[Held]]:
        name = f"{run.__module__.rpartition('.')[2]}.{run.__name__}"
        ATTACKS[name] = Attack(name, run, limit, needs)
        return run

    return declare


def all_attacks() -> list[Attack]:
    """Import every file of attacks, and return the attacks in the order of their names."""
    for module in pkgutil.iter_modules(tests.attack.__path__):
        if not module.name.startswith(("test_", "__")):
            importlib.import_module(f"tests.attack.{module.name}")
    return [ATTACKS[name] for name in sorted(ATTACKS)]
