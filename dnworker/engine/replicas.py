"""`Replicas`: sees that nodes agree how workers are divided among members, and divides them; for `holdings`.

Nobody runs a member while its worker is divided: who divides it holds the leases of all members, of those
that there were and of those that there will be. Decision 0047 says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from dnworker.core.errors import Conflict
from dnworker.core.lease_time import LeaseClock
from dnworker.core.members import ALONE, Partition, family_of, index_of, member_name
from dnworker.engine.hold import Hold
from dnworker.events.brokers.base import Broker
from dnworker.events.brokers.partitions import Partitions


class Replicas:
    """What this node was told of members, and what all have agreed.

    Args:
        broker: gives the present one.
        clock: of leases.
    """

    def __init__(self, broker: Callable[[], Broker], clock: LeaseClock) -> None:
        self.partitions: Mapping[str, Partition] = {}
        """How workers are to be divided, by what this node was told."""
        self.refused: dict[str, str] = {}
        """Why no member of a worker may run here, by the worker's name."""
        self._broker, self._clock = broker, clock

    async def why_wait(self, member: str, *, is_elsewhere: bool) -> str | None:
        """Return why the lease of a member is not to be taken now; None where it may be.

        The first member divides its worker, and needs the leases of all others for it.

        Args:
            member: its qualified name.
            is_elsewhere: whether another node holds a member of its worker.

        Raises:
            OSError: the broker cannot be asked.
        """
        if (broker := self._broker().partitions) is None:
            return None
        worker, index = family_of(member), index_of(member)
        told, partition = self.partitions.get(worker), (await broker.share(worker, index)).partition
        self.refused.pop(worker, None)
        if partition == (told or ALONE):
            return None
        if told is None or is_elsewhere:
            self.refused[worker] = _other_number(worker, told, partition)
        elif index > 0:
            return f"{told.text} are wanted here, and {worker} has {partition.text} until it is divided anew"
        return self.refused.get(worker)

    async def join(self, member: str, hold: Hold) -> str | None:
        """Have a member whose lease is held get its share of events; returns why it may not, None if so.

        Where it may not, the lease is not kept.

        Args:
            member: its qualified name.
            hold: its lease.
        """
        try:
            why = await self._why_not(member, hold)
        except OSError as exc:
            why = f"the broker cannot be asked how its events are divided: {exc}"
        except BaseException:
            await hold.abandon()
            raise
        if why is not None:
            await hold.give_back()
        return why

    async def _why_not(self, member: str, hold: Hold) -> str | None:
        if (broker := self._broker().partitions) is None:
            return None
        worker, index = family_of(member), index_of(member)
        told = self.partitions.get(worker)
        share = await broker.share(worker, index)
        if share.partition != (told or ALONE):
            if told is None or index > 0:
                return _other_number(worker, told, share.partition)
            why = await self._divide(broker, hold, worker, told, share.partition)
            if why is not None:
                return why
            share = await broker.share(worker, index)
        broker.give(member, share)
        return None

    async def _divide(
        self, broker: Partitions, first: Hold, worker: str, told: Partition, before: Partition
    ) -> str | None:
        """Divide a worker as this node was told, where none of its members runs; returns why not."""
        holds = [first]
        async with AsyncExitStack() as leases:
            for n in range(1, max(before.of, told.of)):
                name = f"hold.{member_name(worker, n)}"
                # Another holder than that of the members here: they must not take it for theirs meanwhile.
                holder = f"{first.holder}/divides"
                hold = Hold(name, holder, self._broker, self._clock, lambda why: None)
                leases.push_async_callback(hold.give_back)
                holds.append(hold)
                if not await hold.take():
                    return _other_number(worker, told, before)
            try:
                await broker.divide(worker, told, lambda: all(hold.is_held for hold in holds))
            except Conflict as exc:
                return str(exc)
        return None


def _other_number(worker: str, told: Partition | None, partition: Partition) -> str:
    """Return that a worker is divided in another way than this node was told, and the way out."""
    order = f" --ordered-by {worker}=session" if partition.by_session else ""
    way = f"start this node with --replicas {worker}={partition.of}{order}"
    if told is None:
        return f"it has {partition.text} in this cluster: {way}"
    return (
        f"{told.text} are wanted here, and it has {partition.text} in this cluster: {way}, or stop it "
        "everywhere to change that"
    )
