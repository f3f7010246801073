"""`start_all` and `stop_all`: many managed workers at once, none of which waits for another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from dnworker.workers.access import Retired
from dnworker.workers.managed import ManagedWorker

log = logging.getLogger("dnworker.workers")


async def start_all(workers: Iterable[ManagedWorker]) -> None:
    """Start workers side by side; none blocks or fails another, and one that was replaced is left out."""
    await asyncio.gather(*(_start_unless_retired(worker) for worker in workers))


async def _start_unless_retired(worker: ManagedWorker) -> None:
    try:
        await worker.start_with_others()
    except Retired:
        log.debug("%s was replaced before it was started", worker.qualified_name)


async def stop_all(workers: Iterable[ManagedWorker]) -> None:
    """Stop workers side by side."""
    await asyncio.gather(*(worker.stop() for worker in workers))
