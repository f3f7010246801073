"""`Table`: decides which node of a cluster is to hold a worker; pure, `holdings` asks it.

Each node writes a `Seat` for the others to read. All decide by the same seats, so that they mostly agree;
where they do not, the lease decides.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Collection, Iterable, Mapping
from zlib import crc32

import msgspec

from dnworker.engine.versions import Loaded, Target

LABEL_LENGTH = 100
"""Characters that a label, or the name of a node, may have."""


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

    Raises:
        ValueError: the name or a label is none, or `require` names no worker as `capability:worker`.
    """

    def __init__(
        self,
        node: str | None = None,
        labels: Collection[str] = (),
        require: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.node = default_node() if node is None else check_label(node, "node")
        self.labels = _checked("labels", labels)
        self.require = {
            _worker(name): _checked(f"require of {name}", of) for name, of in (require or {}).items()
        }


def default_node() -> str:
    """Return a name for this node: that of the machine, and four hexadecimal digits."""
    machine = "".join(one if one.isascii() and one.isalnum() else "-" for one in socket.gethostname())
    return f"{machine[:60].strip('-') or 'node'}-{secrets.token_hex(2)}"


def check_label(label: str, what: str = "label") -> str:
    """Return a label, or the name of a node.

    Raises:
        ValueError: it is empty, too long, or has other characters than letters, digits and `-_.`.
    """
    is_text = isinstance(label, str) and 0 < len(label) <= LABEL_LENGTH
    if not is_text or not all(one.isascii() and (one.isalnum() or one in "-_.") for one in label):
        raise ValueError(f"{what} is {label!r}; letters, digits and -_. are wanted, {LABEL_LENGTH} at most")
    return label


def _checked(what: str, labels: Collection[str]) -> list[str]:
    if isinstance(labels, str):
        raise ValueError(f"{what} is {labels!r}; a list is wanted: [{labels!r}]")
    return sorted({check_label(label, f"a label of {what}") for label in labels})


def _worker(name: str) -> str:
    capability, _, worker = name.partition(":")
    if not (capability and worker):
        raise ValueError(f"require names {name!r}; capability:worker is wanted, such as demo:bridge")
    return name


def read_seat(data: bytes) -> Seat | None:
    """Return a seat as it was written; None where that is none."""
    try:
        seat = msgspec.json.decode(data, type=Seat)
        check_label(seat.node, "node")  # it is shown, whoever wrote it
    except ValueError:
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
        """Return who is to take each worker that nobody holds, by its holder's name: who has the least."""
        load = {seat.holder: len(seat.holds) for seat in self.seats}
        wanted = {worker for seat in self.seats for worker in seat.wants} - self._holders.keys()
        plan: dict[str, str] = {}
        for worker in sorted(wanted):
            if candidates := self.first_candidates(worker):
                least = min(candidates, key=lambda seat: (load[seat.holder], _rank(worker, seat.holder)))
                plan[worker] = least.holder
                load[least.holder] += 1
        return plan

    def surplus(self, mine: Seat, movable: Collection[str]) -> tuple[str, Seat] | None:
        """Return a worker that a node is to hand over, and who will take it; None for none.

        It is one that may not run there and may elsewhere, or one of a node that holds two more than another.
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
                if len(mine.holds) - len(least.holds) >= 2:
                    return worker, least
        return None


def _load(worker: str, seat: Seat) -> tuple[int, int]:
    """Return what nodes are compared by, of which the least is to take a worker."""
    return len(seat.holds), _rank(worker, seat.holder)


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
