"""Plans of the history checker: random operations on a runtime, made of a seed, and smaller plans of a failing one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

WORKERS = ("here", "gated", "child", "other", "added", "extra")
"""The workers: two in the runtime's process, one of them gated, a Python process, a process that knows nothing of
dnworker, one that is added and removed, and one of a capability that is loaded and unloaded."""

PROCESSES = ("child", "other")

WEIGHTS = {
    "publish": 10,
    "restart": 5,
    "force": 6,
    "force-api": 4,
    "restart-peer": 3,
    "restart-itself": 2,
    "stop": 4,
    "start": 4,
    "reload-one": 5,
    "reload": 3,
    "flag": 6,
    "kill": 4,
    "edit": 3,
    "add": 3,
    "remove": 3,
    "load": 2,
    "unload": 2,
    "declare": 2,
}
"""The operations, and how often each comes."""

WITHOUT_WORKER = ("publish", "reload", "reload-one", "load", "unload", "flag", "declare")

LARGEST_ROUND = 7
LATEST = 0.12
"""Operations of a round, and seconds after its start in which they begin."""

CANCELLED = 0.12
"""The part of the operations whose caller is cancelled while they run."""


@dataclass(frozen=True)
class Operation:
    """One operation: on which worker, when within its round, and whether its caller is cancelled."""

    kind: str
    worker: str
    value: bool
    at: float
    cancelled_after: float | None
    """Seconds after which whoever asked for it goes away, as an interrupted cell does."""

    def __str__(self) -> str:
        about = {"flag": "on" if self.value else "off", "declare": "named" if self.value else "nothing"}
        named = about.get(self.kind, "" if self.kind in WITHOUT_WORKER else self.worker)
        gone = (
            "" if self.cancelled_after is None else f", cancelled after {self.cancelled_after * 1000:.0f} ms"
        )
        return " ".join(filter(None, [self.kind, named, f"@{self.at * 1000:.0f}{gone}"]))


Round = tuple[Operation, ...]
"""Operations that run beside each other; after them the runtime comes to rest, and is looked at."""


def make_plan(seed: int, operations: int) -> list[Round]:
    """Return rounds with so many operations together; the same for the same seed."""
    chance = random.Random(seed)
    plan: list[Round] = []
    left = operations
    while left > 0:
        size = min(left, chance.choice((1, 1, 2, 2, 3, 4, LARGEST_ROUND)))
        plan.append(tuple(_operation(chance) for _ in range(size)))
        left -= size
    return plan


def _operation(chance: random.Random) -> Operation:
    (kind,) = chance.choices([*WEIGHTS], [*WEIGHTS.values()])
    worker = chance.choice(PROCESSES if kind == "kill" else WORKERS)
    at = chance.choice((0.0, 0.0, chance.random() * LATEST))
    is_cancelled = chance.random() < CANCELLED and kind not in ("publish", "edit", "kill")
    cancelled = round(chance.random() * LATEST, 3) if is_cancelled else None
    return Operation(kind, worker, chance.random() < 0.5, round(at, 3), cancelled)


def smaller(plan: list[Round], failed: int) -> Iterator[list[Round]]:
    """Yield smaller plans that may fail like `plan` did in round `failed`, the smallest first."""
    last = plan[failed]
    if len(last) > 1:
        for left_out in range(len(last)):
            yield [last[:left_out] + last[left_out + 1 :]]
    before = 0
    while before <= failed:
        yield plan[failed - before : failed + 1]
        before = before * 2 or 1


def shown(plan: list[Round]) -> str:
    """Return a plan as text, one round a line."""
    return "\n".join(f"  {number}: {' | '.join(map(str, one))}" for number, one in enumerate(plan))
