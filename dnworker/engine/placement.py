"""`Table`: decides which node of a cluster is to hold a worker; pure, `holdings` asks it.

Each node writes a `Seat` for the others to read. All decide by the same seats, so that they mostly agree;
where they do not, the lease decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from zlib import crc32

import msgspec

from dnworker.core.members import MOST_MEMBERS, Partition, family_of
from dnworker.engine.node_names import check_labels, check_name, default_node
from dnworker.engine.versions import Loaded, Target

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
    starting: list[str] = []
    """Those of them that do not run yet."""
    versions: dict[str, Loaded] = {}
    """The capabilities that it has loaded from disk, by name."""
    is_leaving: bool = False
    """Whether it hands over all, and takes nothing."""


class Place:
    """What a node is called, and what it may run.

    Args:
        node: its name; by default the machine's, and four hexadecimal digits.
        labels: what it has, such as `gpu`.
        require: the labels that a node must have to run a worker, such as `{"demo:bridge": ["gpu"]}`.
        replicas: how many members workers have, such as `{"demo:bridge": 4}`.
        ordered_by: `session` for those whose members are to get all events of a session each.

    Raises:
        ValueError: the name or a label is none, or one of the others names no worker as `capability:worker`.
    """

    def __init__(
        self,
        node: str | None = None,
        labels: Collection[str] = (),
        require: Mapping[str, Collection[str]] | None = None,
        replicas: Mapping[str, int] | None = None,
        ordered_by: Mapping[str, str] | None = None,
    ) -> None:
        self.node = default_node() if node is None else check_name(node, "node")
        self.labels = check_labels(labels)
        self.require = {
            _worker(name, "require"): check_labels(of, f"require of {name}")
            for name, of in (require or {}).items()
        }
        self.partitions = check_partitions(replicas or {}, ordered_by or {})


def _worker(name: str, what: str) -> str:
    capability, _, worker = name.partition(":")
    if not (capability and worker) or family_of(name) != name:
        raise ValueError(f"{what} names {name!r}; capability:worker is wanted, such as demo:bridge")
    return name


def check_partitions(replicas: Mapping[str, int], ordered_by: Mapping[str, str]) -> dict[str, Partition]:
    """Return how the events of workers are divided among their members, by the workers' names.

    Raises:
        ValueError: a number, or an order, cannot be; or an order is for a worker without members.
    """
    partitions: dict[str, Partition] = {}
    for name, of in replicas.items():
        if isinstance(of, bool) or not isinstance(of, int) or not 1 <= of <= MOST_MEMBERS:
            raise ValueError(f"replicas of {name} is {of!r}; 1 to {MOST_MEMBERS} is wanted")
        partitions[_worker(name, "replicas")] = Partition(of)
    for name, order in ordered_by.items():
        if order != "session":
            raise ValueError(f"ordered_by of {name} is {order!r}; session is wanted")
        if _worker(name, "ordered_by") not in partitions:
            raise ValueError(f"ordered_by names {name}, which has one member; replicas says how many")
        partitions[name] = Partition(partitions[name].of, by_session=partitions[name].of > 1)
    return partitions


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
        targets: the versions of capabilities that nodes are to run, by capability.
    """

    def __init__(self, seats: Iterable[Seat], targets: Mapping[str, Target] | None = None) -> None:
        self.targets = {} if targets is None else targets
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

    def is_elsewhere(self, worker: str, holder: str) -> bool:
        """Return whether another node than this one holds a worker, or a member of it."""
        return any(seat.holder != holder and _members(seat, worker) for seat in self.seats)

    def lacks(self, worker: str, labels: Collection[str]) -> list[str]:
        """Return the labels that a worker needs, by what any node was told, and that are not among these."""
        return sorted(self._required.get(family_of(worker), set()) - set(labels))

    def candidates(self, worker: str) -> list[Seat]:
        """Return the nodes on which a worker stands by, and may run."""
        return [
            seat
            for seat in self.seats
            if worker in seat.wants and not seat.is_leaving and not self.lacks(worker, seat.labels)
        ]

    def is_second(self, worker: str, seat: Seat) -> bool:
        """Return whether a node runs a worker only while no other can: it has another version than it should.

        That is the target of the worker's capability, or any other where the worker does not start with that.
        Workers of a notebook have no version; nor have those of a capability that has no target yet.
        """
        capability = worker.partition(":")[0]
        target, loaded = self.targets.get(capability), seat.versions.get(capability)
        if target is None or loaded is None:
            return False
        return (loaded.digest == target.loaded.digest) == (worker in target.failed)

    def first_candidates(self, worker: str) -> list[Seat]:
        """Return the candidates that have the version they should; all of them where none has."""
        candidates = self.candidates(worker)
        return [seat for seat in candidates if not self.is_second(worker, seat)] or candidates

    def why_second(self, worker: str, seat: Seat) -> str | None:
        """Return why a node leaves a worker to another for now; None where it does not."""
        if not self.is_second(worker, seat):
            return None
        first = next((one for one in self.candidates(worker) if not self.is_second(worker, one)), None)
        if first is None:
            return None
        capability = worker.partition(":")[0]
        if worker in self.targets[capability].failed:
            return (
                f"it does not start with version {seat.versions[capability]}; node {first.node} has another"
            )
        its = first.versions.get(capability)
        return (
            f"this node has version {seat.versions[capability]}, and node {first.node} {its or 'its cells'}"
        )

    def upgrade(self, mine: Seat, movable: Collection[str]) -> tuple[str, Seat] | None:
        """Return a worker of a node that has another version than it should, and who will take it."""
        for worker in sorted(movable):
            if self.is_second(worker, mine):
                firsts = [one for one in self.candidates(worker) if not self.is_second(worker, one)]
                if firsts:
                    return worker, min(firsts, key=lambda seat: _load(worker, seat))
        return None

    def assigned(self) -> dict[str, str]:
        """Return who is to take each worker that nobody holds, by its holder's name: who has the least.

        A member of a worker goes to who has the fewest members of that worker.
        """
        load = {seat.holder: len(seat.holds) for seat in self.seats}
        members = Counter((seat.holder, family_of(name)) for seat in self.seats for name in seat.holds)
        wanted = {worker for seat in self.seats for worker in seat.wants} - self._holders.keys()
        plan: dict[str, str] = {}
        for worker in sorted(wanted):
            if candidates := self.first_candidates(worker):
                family = family_of(worker)
                ranked = (
                    (members[one.holder, family], load[one.holder], _rank(worker, one.holder), one.holder)
                    for one in candidates
                )
                least = plan[worker] = min(ranked)[-1]
                load[least] += 1
                members[least, family] += 1
        return plan

    def surplus(self, mine: Seat, movable: Collection[str]) -> tuple[str, Seat] | None:
        """Return a worker that a node is to hand over, and who will take it; None for none.

        It is one that may not run there and may elsewhere; one of several members of a worker, where another
        node has two fewer of them; or one of a node that holds two more than another. The last never brings
        members of a worker together, so that this ends.
        """
        for worker in sorted(movable):
            if self.lacks(worker, mine.labels) and (takers := self.first_candidates(worker)):
                return worker, takers[0]
        for worker in sorted(movable):
            others = [seat for seat in self.first_candidates(worker) if seat.holder != mine.holder]
            if not self.is_second(worker, mine):
                others = [seat for seat in others if not self.is_second(worker, seat)]
            if others:
                least = min(others, key=lambda seat: _load(worker, seat))
                together = _members(mine, worker) - _members(least, worker)
                if together >= 2 or (together == 1 and len(mine.holds) - len(least.holds) >= 2):
                    return worker, least
        return None


def _members(seat: Seat, worker: str) -> int:
    """Return how many members of a worker a node holds."""
    return sum(family_of(name) == family_of(worker) for name in seat.holds)


def _load(worker: str, seat: Seat) -> tuple[int, int, int]:
    """Return what nodes are compared by, of which the least is to take a worker."""
    return _members(seat, worker), len(seat.holds), _rank(worker, seat.holder)


def _rank(worker: str, holder: str) -> int:
    """Return a number by which nodes that hold as much as each other share what comes."""
    return crc32(f"{worker}\0{holder}".encode())


def why_moved(worker: str, mine: Seat, taker: Seat) -> str:
    """Return why a worker moves where that is because of its version, for a message; else nothing."""
    capability = worker.partition(":")[0]
    has, its = mine.versions.get(capability), taker.versions.get(capability)
    return f", from version {has} to {its}" if has is not None and its not in (None, has) else ""


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
