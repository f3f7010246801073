"""`QueueUse`: how much the queues of worker processes take, and what they dropped; the bus has one."""

from __future__ import annotations

from typing import Protocol


class Measured(Protocol):
    """A `WorkerQueue`."""

    @property
    def size(self) -> int:
        """Bytes of events that wait for the streams of a process."""

    @property
    def held(self) -> int:
        """Bytes of events that are held until it subscribes."""


class QueueUse:
    """What is used of the limits `queue` and `held`, by all queues together."""

    def __init__(self) -> None:
        self._queues: set[Measured] = set()
        self.dropped = 0
        """Events that a full queue did not take."""
        self.held_dropped = 0
        """Events that a process wanted, and that were held no longer when it subscribed."""

    @property
    def used(self) -> int:
        """Bytes of events that wait in queues."""
        return sum(queue.size for queue in self._queues)

    @property
    def held(self) -> int:
        """Bytes of events that are held for processes which may subscribe."""
        return sum(queue.held for queue in self._queues)

    def add(self, queue: Measured) -> None:
        """Count a queue."""
        self._queues.add(queue)

    def remove(self, queue: Measured) -> None:
        """Count it no longer; what it dropped stays counted."""
        self._queues.discard(queue)
