"""`Partitions`: how a broker that runtimes share divides the events of a worker among its members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dnworker.core.members import Partition, Share


class Partitions(Protocol):
    """The part of a broker that keeps how workers are divided."""

    async def share(self, worker: str, index: int) -> Share:
        """Return the share of a member as all runtimes have agreed; of one alone where nothing was agreed.

        Args:
            worker: the worker, without the number of a member.
            index: of the member; one that the worker does not have gets the partition all the same.

        Raises:
            BrokerError: the broker does not answer, or what was agreed cannot be read.
        """

    def give(self, member: str, share: Share) -> None:
        """Have the next consumer of a member, by its name, get the events of a share only."""

    async def divide(self, worker: str, partition: Partition, may: Callable[[], bool]) -> None:
        """Divide the events of a worker anew; nothing that was accepted is lost, or given twice for it.

        The caller holds the leases of all members of before and of afterwards: no consumer of them is open
        anywhere. It is done in one step: whatever fails before has changed nothing.

        Args:
            worker: the worker, without the number of a member.
            partition: how it is divided from now on.
            may: whether all leases are held still; asked right before that step.

        Raises:
            Conflict: more events wait than can be given to other members, or a lease was lost; says so.
            BrokerError, NotStored: the broker does not answer, or does not keep it.
        """
