"""`Unheard`: why no handler ran for an event, by the name of who would have; the list of runs says so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.core.lifecycle import WorkerState
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from dnworker.core.handlers import HandlerKey
    from dnworker.engine.engine import Engine
    from dnworker.panel.pace import Pace
    from dnworker.workers.managed import ManagedWorker

STATES = {
    WorkerState.GATED_OFF: "is gated off",
    WorkerState.STOPPED: "is stopped",
    WorkerState.ERROR: "is in error",
    WorkerState.STOPPING: "stops",
    WorkerState.STARTING: "was starting",
    WorkerState.LOADING: "was starting",
}
LARGEST_SCRIPT = 500_000
KINDS_REMEMBERED = 1_000
_LISTENS = re.compile(r"""on_event\(\s*(?:kind\s*=\s*)?["']([^"'\n]{1,512})["']""")


class NotRunning:
    """By kind, who would have run and why not, as it was at one look."""

    def __init__(self) -> None:
        self._by_kind: dict[str, tuple[str, int]] = {}

    def add(self, text: str, kinds: Iterable[str]) -> None:
        """Add a worker, as `ops:alerts is gated off`, with the kinds it listens to."""
        for kind in kinds:
            first, count = self._by_kind.get(kind, (text, 0))
            self._by_kind[kind] = (first, count + 1)

    def why(self, kind: str) -> str | None:
        """Return who would have run and why not, such as `ops:alerts is gated off`; None if nobody would."""
        first, count = self._by_kind.get(kind, (None, 0))
        return f"{first}, and {count - 1} more" if count > 1 else first


def _kinds_of(keys: Iterable[HandlerKey]) -> frozenset[str]:
    return frozenset(key[1] for key in keys if key[0] == "on_event")


class Unheard:
    """Looks for the workers that listen to a kind and do not run.

    Args:
        engine: has the workers.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scripts: dict[tuple[str, float], frozenset[str]] = {}

    async def look(self, pace: Pace) -> NotRunning:
        """Look at each worker once; `NotRunning.why` then answers for any number of kinds."""
        found = NotRunning()
        for worker in self._engine.workers():
            if (listens := self._listens(worker)) is not None:
                text, kinds = listens
                found.add(f"{worker.qualified_name} {text}", kinds)
            await pace.rest()
        return found

    def _listens(self, worker: ManagedWorker) -> tuple[str, Iterable[str]] | None:
        """Return why a worker does not run, or did not, and the kinds it would have heard."""
        if worker.state is WorkerState.RUNNING:
            if worker.stats:
                return "did not listen then", _kinds_of(worker.stats)
            if isinstance(worker, InProcessWorker):
                return None
            return "runs without reporting", self._written(worker)
        if worker.stats:
            return STATES[worker.state], _kinds_of(worker.stats)
        registry = worker.worker if isinstance(worker, InProcessWorker) else None
        keys = [handler.key for handler in handlers_of(registry)] if registry is not None else []
        return STATES[worker.state], _kinds_of(keys) | self._written(worker)

    def _written(self, worker: ManagedWorker) -> frozenset[str]:
        """Return the kinds that the script of a worker that never ran listens to, as far as text tells."""
        path = worker.definition.path
        return frozenset() if path is None else self._kinds_in(path)

    def _kinds_in(self, path: Path) -> frozenset[str]:
        try:
            found = path.stat()
            key = (str(path), found.st_mtime)
            if key not in self._scripts:
                if len(self._scripts) >= KINDS_REMEMBERED:
                    self._scripts.clear()
                text = path.read_text(errors="replace") if found.st_size <= LARGEST_SCRIPT else ""
                self._scripts[key] = frozenset(_LISTENS.findall(text))
            return self._scripts[key]
        except (OSError, ValueError):
            return frozenset()  # the script is gone: nothing is known of it
