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
        self._broker, self._clock = broker, clock

    async def why_wait(self, member: str) -> str | None:
        """Return why the lease of a member is not to be taken yet; None where it may be.

        The first member divides its worker, and needs the leases of all others for it.

        Raises:
            OSError: the broker cannot be asked.
        """
        worker, index = family_of(member), index_of(member)
        if index == 0 or (broker := self._broker().partitions) is None:
            return None
        told = self.partitions.get(worker, ALONE)
        partition = (await broker.share(worker, index)).partition
        if partition == told:
            return None
        return f"{told.text} are wanted here, and {worker} has {partition.text} until it is divided anew"

    async def join(self, member: str, hold: Hold) -> str | None:
        """Have a member whose lease is held get its share of events; returns why it may not, None if so.

        Args:
            member: its qualified name.
            hold: its lease.

        Raises:
            OSError: the broker cannot be asked.
        """
        if (broker := self._broker().partitions) is None:
            return None
        worker, index = family_of(member), index_of(member)
        told = self.partitions.get(worker)
        share = await broker.share(worker, index)
        if share.partition != (told or ALONE):
            if told is None or index > 0:
                return f"it has {share.partition.text} in this cluster: {_way(worker, share.partition)}"
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
                    return (
                        f"{told.text} are wanted here, and it runs with {before.text}: "
                        f"{_way(worker, before)}, or stop it everywhere to change that"
                    )
            try:
                await broker.divide(worker, told, lambda: all(hold.is_held for hold in holds))
            except Conflict as exc:
                return str(exc)
        return None


def _way(worker: str, partition: Partition) -> str:
    order = f" --ordered-by {worker}=session" if partition.by_session else ""
    return f"start this node with --replicas {worker}={partition.of}{order}"
