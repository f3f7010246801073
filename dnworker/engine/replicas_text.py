"""Reads `demo:bridge=4` and `demo:bridge=session`, as the command line and `%runtime join` have them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dnworker.core.errors import UsageError
from dnworker.core.members import MOST_MEMBERS
from dnworker.engine.members import why_one_state

_WORKER = re.compile(r"[^\s:=#]+:[^\s:=#]+")


def replicas_of(
    replicas: Iterable[str], ordered_by: Iterable[str], keep_state: Iterable[str] = ()
) -> tuple[dict[str, int], dict[str, str]]:
    """Return how many members workers have, and by what their events are ordered.

    Raises:
        UsageError: an entry is not `CAPABILITY:WORKER=N` or `CAPABILITY:WORKER=session`, or they do not go
            together.
    """
    counts: dict[str, int] = {}
    for text in replicas:
        worker, _, number = text.partition("=")
        count = int(number) if re.fullmatch("[0-9]{1,4}", number) else 0
        if not _WORKER.fullmatch(worker) or not 1 <= count <= MOST_MEMBERS:
            raise UsageError(
                f"--replicas {text[:160]!r}: CAP:WORKER=N is wanted, such as demo:bridge=4, "
                f"with {MOST_MEMBERS} at most",
                code="DN811",
            )
        if counts.setdefault(worker, count) != count:
            raise UsageError(
                f"--replicas names {worker} with {counts[worker]} and with {count}; give one", code="DN811"
            )
    orders: dict[str, str] = {}
    for text in ordered_by:
        worker, _, order = text.partition("=")
        if not _WORKER.fullmatch(worker) or order != "session":
            raise UsageError(
                f"--ordered-by {text[:160]!r}: CAP:WORKER=session is wanted, such as demo:bridge=session",
                code="DN811",
            )
        if worker not in counts:
            raise UsageError(
                f"--ordered-by {worker}=session is for a worker of several members: "
                f"add --replicas {worker}=N",
                code="DN811",
            )
        orders[worker] = order
    for worker in keep_state:
        if counts.get(worker, 1) > 1:
            raise UsageError(
                f"{why_one_state(worker)}; leave out --replicas {worker} or --keep-state {worker}",
                code="DN811",
            )
    return counts, orders
