"""`LeftTold`: says what waits for workers that name its kind no more, or are removed; the engine has one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from dnworker.core.errors import BrokerError, NotFound
from dnworker.engine.capabilities import CapabilityCollection
from dnworker.events.brokers.base import Broker
from dnworker.events.brokers.left_events import LeftEvents
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.services import AddLine

log = logging.getLogger("dnworker.runtime")

SAID_AFTER = 0.3
"""Seconds in which another worker may come in the place of one that was removed."""

COUNTED_WITHIN = 5.0
"""Seconds in which the broker says what waits for workers that are removed."""


class LeftTold:
    """Says it in the worker's log, else in the runtime's, and lets the worker show it.

    Args:
        capabilities: has the workers, and tells which are replaced.
        log_line: adds a line to a worker's log.
    """

    def __init__(self, capabilities: CapabilityCollection, log_line: AddLine) -> None:
        self._find = capabilities.find
        self._log_line = log_line
        self._broker: Broker | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        capabilities.succession.replaced.add(self._note_replaced)

    def listen(self, broker: Broker) -> Callable[[], None]:
        """Hear what a broker tells; returns what ends that."""
        self._broker = broker
        return broker.left.add(self._take)

    def _take(self, left: LeftEvents) -> None:
        worker = self._worker(left.worker)
        if worker is not None:
            worker.note_left(left)  # which says what is let go
        if left.is_kept and left.is_news and left.count:
            if worker is not None:
                self._log_line(left.worker, said(left), source="runtime", level="warning")
            else:
                log.warning("%s: %s", left.worker, said(left))
        elif worker is None and not left.is_kept:
            log.error("%s: %d events of %s that waited for it are lost", left.worker, left.count, left.kind)

    def _worker(self, name: str) -> ManagedWorker | None:
        capability, _, worker = name.rpartition(":")
        try:
            return self._find(capability, worker)
        except NotFound:
            return None

    # -- workers that are removed ----------------------------------------------------------------------

    def _note_replaced(self, workers: Iterable[str]) -> None:
        """Say what waits for workers that were replaced, where there are none of their names any more."""
        removed, broker = {name for name in workers if self._worker(name) is None}, self._broker
        if removed and broker is not None and broker.capabilities.redelivers:
            task = asyncio.create_task(self._say_removed(broker, removed), name="events of removed workers")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Return when all is said; the broker is still open."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=COUNTED_WITHIN)

    async def _say_removed(self, broker: Broker, workers: set[str]) -> None:
        await asyncio.sleep(SAID_AFTER)
        try:
            async with asyncio.timeout(COUNTED_WITHIN):
                cursors = await broker.cursors()
        except (BrokerError, TimeoutError) as exc:
            names = ", ".join(sorted(workers))
            log.warning("%s: removed; what waits there is not known: %s", names, exc or "the broker is slow")
            return
        for one in cursors:
            waiting = one.pending + sum(one.former.values())
            if one.worker in workers and waiting and self._worker(one.worker) is None and not one.is_here:
                log.warning(
                    "%s was removed with %d event%s that it has not handled: they are kept for a worker of "
                    "that name; `dnworker cursors drop %s` lets them go",
                    one.worker,
                    waiting,
                    "s" * (waiting != 1),
                    one.worker,
                )


def said(left: LeftEvents) -> str:
    """Return the line about events that wait for a version that names their kind again."""
    one = left.count == 1
    when = f"of {left.oldest}" if one else f"published from {left.oldest} to {left.newest}"
    return (
        f"{left.kind} is named no more, with {left.count:,} event{'s' * (not one)} not handled, {when}: "
        f"{'it is' if one else 'they are'} kept, and a version that names {left.kind} again gets "
        f"{'it' if one else 'them'}; `dnworker cursors reset {left.worker} --to now` lets all go that waits"
    )
