"""`Unheard`: why no handler ran for an event, by the name of who would have; the list of runs says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.core.lifecycle import WorkerState
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
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


class Unheard:
    """Looks for the workers that listen to a kind and do not run.

    Args:
        engine: has the workers.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scripts: dict[tuple[str, float], frozenset[str]] = {}

    def why(self, kind: str) -> str | None:
        """Return who would have run and why not, such as `ops:alerts is gated off`; None if nobody would."""
        texts: list[str] = []
        for worker in self._engine.workers():
            if (text := self._why(worker, kind)) is not None:
                texts.append(f"{worker.qualified_name} {text}")
        if not texts:
            return None
        more = f", and {len(texts) - 1} more" if len(texts) > 1 else ""
        return f"{texts[0]}{more}"

    def _why(self, worker: ManagedWorker, kind: str) -> str | None:
        if worker.state is WorkerState.RUNNING:
            if not worker.stats and not isinstance(worker, InProcessWorker):
                return "runs without reporting" if self._is_written(worker, kind) else None
            return "did not listen then" if worker.stats and worker.may_hear(kind) else None
        if worker.stats:
            return STATES[worker.state] if worker.may_hear(kind) else None
        registry = worker.worker if isinstance(worker, InProcessWorker) else None
        keys = [handler.key for handler in handlers_of(registry)] if registry is not None else []
        hears = any(key[:2] == ("on_event", kind) for key in keys) or self._is_written(worker, kind)
        return STATES[worker.state] if hears else None

    def _is_written(self, worker: ManagedWorker, kind: str) -> bool:
        """Return whether the script of a worker that never ran listens to a kind, as far as text tells."""
        path = worker.definition.path
        return path is not None and kind in self._kinds_in(path)

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
