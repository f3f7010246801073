"""`NamedWorkers`: what is said of names in options of a runtime, such as `retry`, that are no worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

from dnworker.core.text import closest
from dnworker.engine.capabilities import CapabilityCollection
from dnworker.engine.progress import Progress

log = logging.getLogger("dnworker.workers")

EXPECTED_WITHIN = 10.0
"""Seconds after the start in which a worker that an option names is expected to be there."""


def unknown(capabilities: CapabilityCollection, names: Iterable[str]) -> Iterator[str]:
    """Say of names that are no worker what is near; not of those whose capability failed to load."""
    workers = sorted(worker.qualified_name for worker in capabilities.workers())
    failed = {capability.name for capability in capabilities.all() if capability.failure is not None}
    for name in sorted(names):
        if name not in workers and name.partition(":")[0] not in failed:
            near = closest(name, workers, cutoff=0.5)
            yield f"{name}: there is no such worker" + (f"; did you mean {near}?" if near else "")


class NamedWorkers:
    """Warns once of names that are no worker, a while after the start, when all is loaded.

    Args:
        capabilities: whose workers there are.
        progress: says whether something is loaded now.
        options: returns the names that each option gives.
    """

    def __init__(
        self,
        capabilities: CapabilityCollection,
        progress: Progress,
        options: Callable[[], Mapping[str, Iterable[str]]],
    ) -> None:
        self._capabilities = capabilities
        self._progress = progress
        self._options = options
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """Begin to wait; returns what ends that."""
        self._wait(loop)
        return self._stop

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(EXPECTED_WITHIN, self._look, loop)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._progress.stage != "ready":
            self._wait(loop)
            return
        for option, names in self._options().items():
            for text in unknown(self._capabilities, names):
                log.warning("%s names %s", option, text)
