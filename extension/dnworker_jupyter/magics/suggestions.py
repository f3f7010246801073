"""`NotebookSuggestions`: suggests kinds to fire and payloads; used by `%fire`, completion and the panel."""

from __future__ import annotations

from typing import Any

from dnworker.core.envelope import has_payload
from dnworker.core.lifecycle import WorkerState
from dnworker.core.payloads import guess_payload
from dnworker.core.samples import SAMPLES
from dnworker.engine.engine import Engine
from dnworker.engine.suggest import Suggestions
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker_jupyter.live.workers import LiveWorkers


class NotebookSuggestions(Suggestions):
    """What the handlers and the history of one notebook suggest, its earlier runs among them."""

    def __init__(self, engine: Engine, live: LiveWorkers) -> None:
        super().__init__(engine, written=live, earlier_runs=True)
        self._live = live

    def kinds_known(self) -> list[str]:
        """Return the kinds that were fired lately, that handlers listen to, and that the runtime knows."""
        fired = {event.kind for event in self._engine.history.events(1_000)}
        return sorted(fired | self.kinds_heard() | SAMPLES.keys())

    def fields(self, kind: str) -> list[str]:
        """Return the fields that a payload of a kind may have."""
        events = reversed(self._engine.history.events(1_000))
        latest: dict[str, Any] = next((e.payload for e in events if e.kind == kind and has_payload(e)), {})
        return list(
            dict.fromkeys(
                [
                    *self.declared_fields(kind),
                    *guess_payload(self._live.sources(kind)),
                    *SAMPLES.get(kind, {}),
                    *latest,
                ]
            )
        )

    def why_unheard(self, kind: str) -> str:
        """Return that no handler ran for a kind, and which kind or worker may have been meant."""
        if kind in self.kinds_heard():
            return f"no handler ran for {kind}{self._stopped_listeners(kind)}"
        near = self.nearest(kind)
        hint = f"; did you mean {near}?" if near is not None else ""
        others = [w.name for w in self._engine.workers() if w.topology == "subprocess" and not w.stats]
        elsewhere = f" (what {', '.join(others)} does with it is in %worker logs)" if others else ""
        return f"no handler in this notebook listens to {kind}{hint}{elsewhere}"

    def _stopped_listeners(self, kind: str) -> str:
        """Return which workers listen to a kind and do not run, and the way out."""
        stopped = []
        for worker in self._engine.workers():
            live = self._live.get(worker.name)
            keys = [*worker.stats, *(h.key for h, _ in (live.handlers() if live is not None else ()))]
            listens = any(key[:2] == ("on_event", kind) for key in keys)
            if listens and worker.state is not WorkerState.RUNNING:
                stopped.append(f"{worker.name} is {_in_state(worker)}; {self._way_out(worker)}")
            elif _is_deaf(worker) and worker.may_hear(kind):
                stopped.append(f"{worker.name} has not connected yet; %worker logs {worker.name}")
        return f": {'; '.join(stopped)}" if stopped else "; see %worker"

    def _way_out(self, worker: ManagedWorker) -> str:
        """Return what lets a worker run that does not."""
        if worker.definition.problem is not None:  # no restart helps
            return worker.definition.problem
        if worker.state is WorkerState.STANDBY:
            return f"nothing: {worker.why_standby}"
        if worker.state is not WorkerState.GATED_OFF:
            return f"%worker restart {worker.name}"
        own = self._engine.capabilities.own
        is_own = worker.capability == own.name and not own.is_set_aside
        flags = [flag if is_own else f"{worker.capability}.{flag}" for flag in worker.definition.when]
        return " or ".join(f"%capability flag {flag} on" for flag in flags)


def _is_deaf(worker: ManagedWorker) -> bool:
    """Return whether a worker is a process that runs and has not asked for events."""
    return (
        isinstance(worker, SubprocessWorker)
        and worker.state is WorkerState.RUNNING
        and not worker.connected.is_set()
    )


def _in_state(worker: ManagedWorker) -> str:
    return "in state error" if worker.state is WorkerState.ERROR else str(worker.state)
