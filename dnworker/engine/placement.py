"""`Table`: decides which node of a cluster is to hold a worker; pure, `holdings` asks it.

Each node writes a `Seat` for the others to read. All decide by the same seats, so that they mostly agree;
where they do not, the lease decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from zlib import crc32

import msgspec

from dnworker.engine.node_names import check_labels, check_name, default_node

SEAT_BYTES = 1_000_000
"""Bytes that a seat may have; a larger one does not count."""


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself."""

    node: str
    holder: str
    """What its leases name as their holder: unlike the node's name, it is of one run."""
    labels: list[str] = []
    requires: dict[str, list[str]] = {}
    """The labels that workers need, as this node was told."""
    wants: list[str] = []
    """The workers that stand by on it."""
    holds: dict[str, int] = {}
    """The fence of each worker that it holds."""
    is_leaving: bool = False
    """Whether it hands over all, and takes nothing."""


class Place:
    """What a node is called, and what it may run.

    Args:
        node: its name; by default the machine's, and four hexadecimal digits.
        labels: what it has, such as `gpu`.
        require: the labels that a node must have to run a worker, such as `{"demo:bridge": ["gpu"]}`.

    Raises:
        ValueError: the name or a label is none, or `require` names no worker as `capability:worker`.
    """

    def __init__(
        self,
        node: str | None = None,
        labels: Collection[str] = (),
        require: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.node = default_node() if node is None else check_name(node, "node")
        self.labels = check_labels(labels)
        self.require = {
            _worker(name): check_labels(of, f"require of {name}") for name, of in (require or {}).items()
        }


def _worker(name: str) -> str:
    capability, _, worker = name.partition(":")
    if not (capability and worker):
        raise ValueError(f"require names {name!r}; capability:worker is wanted, such as demo:bridge")
    return name


def read_seat(data: bytes) -> Seat | None:
    """Return a seat as it was written; None where that is none."""
    if len(data) > SEAT_BYTES:
        return None
    try:
        seat = msgspec.json.decode(data, type=Seat)
        check_name(seat.node, "node")  # it is shown, whoever wrote it, as labels are
        for labels in (seat.labels, *seat.requires.values()):
            check_labels(labels)
    except (ValueError, RecursionError, OverflowError):
        return None
    return seat


class Table:
    """The seats of a cluster at one moment.

    Args:
        seats: of all nodes that are up, one each.
    """

    def __init__(self, seats: Iterable[Seat]) -> None:
        self.seats = sorted(seats, key=lambda seat: seat.holder)
        self._required: dict[str, set[str]] = {}
        self._holders: dict[str, Seat] = {}
        for seat in self.seats:
            for worker, labels in seat.requires.items():
                self._required.setdefault(worker, set()).update(labels)
            for worker, fence in seat.holds.items():
                before = self._holders.get(worker)
                if before is None or before.holds[worker] < fence:
                    self._holders[worker] = seat

    def holder(self, worker: str) -> Seat | None:
        """Return the node that holds a worker, by what it says; of two, the one with the higher fence."""
        return self._holders.get(worker)

    def lacks(self, worker: str, labels: Collection[str]) -> list[str]:
        """Return the labels that a worker needs, by what any node was told, and that are not among these."""
        return sorted(self._required.get(worker, set()) - set(labels))

    def candidates(self, worker: str) -> list[Seat]:
        """Return the nodes on which a worker stands by, and may run."""
        return [
            seat
            for seat in self.seats
            if worker in seat.wants and not seat.is_leaving and not self.lacks(worker, seat.labels)
        ]

    def assigned(self) -> dict[str, str]:
        """Return who is to take each worker that nobody holds, by its holder's name: who has the least."""
        load = {seat.holder: len(seat.holds) for seat in self.seats}
        wanted = {worker for seat in self.seats for worker in seat.wants} - self._holders.keys()
        plan: dict[str, str] = {}
        for worker in sorted(wanted):
            if candidates := self.candidates(worker):
                least = min(candidates, key=lambda seat: (load[seat.holder], _rank(worker, seat.holder)))
                plan[worker] = least.holder
                load[least.holder] += 1
        return plan

    def surplus(self, mine: Seat, movable: Collection[str]) -> tuple[str, Seat] | None:
        """Return a worker that a node is to hand over, and who will take it; None for none.

        It is one that may not run there and may elsewhere, or one of a node that holds two more than another.
        """
        for worker in sorted(movable):
            if self.lacks(worker, mine.labels) and (takers := self.candidates(worker)):
                return worker, takers[0]
        for worker in sorted(movable):
            others = [seat for seat in self.candidates(worker) if seat.holder != mine.holder]
            if others:
                least = min(others, key=lambda seat: (len(seat.holds), _rank(worker, seat.holder)))
                if len(mine.holds) - len(least.holds) >= 2:
                    return worker, least
        return None


def _rank(worker: str, holder: str) -> int:
    """Return a number by which nodes that hold as much as each other share what comes."""
    return crc32(f"{worker}\0{holder}".encode())


def why_nowhere(table: Table, worker: str, labels: Collection[str]) -> str | None:
    """Return why a worker may not run on the node with these labels, and where it may; None where it may."""
    lacking = table.lacks(worker, labels)
    if not lacking:
        return None
    options = " ".join(f"--label {label}" for label in lacking)
    fitting = [seat.node for seat in table.candidates(worker)]
    if fitting:
        return f"it needs {', '.join(lacking)}, which node {fitting[0]} has"
    return f"it needs {', '.join(lacking)}, and no node that declares it has that; start one with {options}"
