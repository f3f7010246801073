"""The declared workers of a runtime: gate, load, start, stop, restart (contract 2.7, 3.6, 4.8).

`ManagedWorker` is the lifecycle; its subclasses in `topologies` make the runner.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import datetime
from typing import Any

from dnworker.capability.flags import gate_is_open
from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import describe
from dnworker.core.lifecycle import STATUS, TRANSITIONS_KEPT, Transition, WorkerState, move
from dnworker.core.models import ComponentInfo
from dnworker.core.stats import HandlerStats
from dnworker.core.text import valid_text
from dnworker.workers.runner import WorkerRunner
from dnworker.workers.services import Home, Services
from dnworker.workers.subprocess_runner import SubprocessWorkerRunner

log = logging.getLogger("dnworker.manager")


class ManagedWorker:
    """One declared worker and where it is in its lifecycle."""

    topology = ""

    def __init__(self, services: Services, home: Home, definition: WorkerDefinition) -> None:
        self.definition = definition
        self.transitions: deque[Transition] = deque(
            [Transition(WorkerState.LOADING)], maxlen=TRANSITIONS_KEPT
        )
        self.error: str | None = None
        self.restarts = 0
        self._declared = True  # not started yet: health says stopped
        self._services = services
        self._home = home
        self._runner: WorkerRunner | SubprocessWorkerRunner | None = None
        self._lock = asyncio.Lock()

    @property
    def state(self) -> WorkerState:
        """The state that it is in."""
        return self.transitions[-1].state

    @state.setter
    def state(self, state: WorkerState) -> None:
        if state is not self.state:
            self.transitions.append(Transition(state))

    @property
    def name(self) -> str:
        """The key in the manifest."""
        return self.definition.name

    @property
    def capability(self) -> str:
        """The name of the capability it belongs to."""
        return self._home.name

    @property
    def qualified_name(self) -> str:
        """`capability:worker`."""
        return f"{self.capability}:{self.name}"

    @property
    def topology_label(self) -> str:
        """What people call how it runs."""
        return self.topology

    @property
    def generation(self) -> int:
        """The version of its handlers."""
        return 1

    @property
    def stats(self) -> dict[HandlerKey, HandlerStats]:
        """How each handler has done since the last start."""
        return {}

    @property
    def next_runs(self) -> dict[HandlerKey, datetime]:
        """When each schedule runs next, and each task that crashed, by the runtime's clock."""
        return {}

    def run_schedule(self, key: HandlerKey) -> None:
        """Begin a run of a schedule's handler now.

        Raises:
            Conflict: its schedules are not kept here.
        """
        raise Conflict(f"worker {self.qualified_name!r} keeps its schedules in a process of its own")

    async def start(self) -> None:
        """Evaluate the gate, load and start; a failure is state `error`, never an exception."""
        async with self._lock:
            await self._start()

    async def stop(self) -> None:
        """Stop through the full sequence; harmless in any state."""
        if isinstance(self._runner, WorkerRunner) and self.state is WorkerState.STARTING:
            await self._runner.stop()  # a startup that hangs holds the lock
        async with self._lock:
            await self._stop()

    async def close_gate(self) -> None:
        """Stop because a flag changed; the state is `gated_off` afterwards."""
        await self.stop()
        async with self._lock:
            self.state, self.error, self._runner = WorkerState.GATED_OFF, None, None
        self._services.on_change(self, announce=False)

    async def restart(self, *, force: bool = False) -> bool:
        """Start again; a running worker is left alone unless `force`. Returns whether it was restarted.

        Raises:
            Conflict: its gate is closed.
        """
        async with self._lock:
            self._check_gate()
            if self.state is WorkerState.RUNNING and not force:
                return False
            await self._stop()
            self.restarts += 1
            await self._start()
            return True

    def component(self) -> ComponentInfo:
        """Return its health entry."""
        if self.state is WorkerState.GATED_OFF:
            return ComponentInfo(
                kind="worker",
                name=self.name,
                status="gated_off",
                detail=f"Requires flag: {', '.join(self.definition.when)}",
                qualified_name=self.qualified_name,
                capability=self.capability,
                when=list(self.definition.when),
            )
        return ComponentInfo(
            kind="worker",
            name=self.name,
            status=self._status(),
            error=self.error,
            detail=self.last_handler_error,
        )

    @property
    def last_handler_error(self) -> str | None:
        """What a handler raised last, with its place; the worker itself may run on (contract 11.11)."""
        errors = [(key, f.last_error) for key, f in self.stats.items() if f.last_error is not None]
        return f"last handler error: {errors[-1][0][2]}: {errors[-1][1]}" if errors else None

    def detail(self) -> dict[str, Any]:
        """Return the detail of contract 6.5."""
        return {
            "name": self.name,
            "qualified_name": self.qualified_name,
            "capability": self.capability,
            "state": str(self.state),
            "error": self.error,
            "when": list(self.definition.when),
            "kind": "inprocess",
            "handlers": None,
        }

    # -- for the topologies ----------------------------------------------------------------------------

    def _make_runner(self) -> WorkerRunner | SubprocessWorkerRunner:
        raise NotImplementedError

    def _released(self) -> None:
        """Called when the worker has stopped or failed, to let go of what its start took."""

    # -- the lifecycle ---------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._declared = False
        if self.definition.problem is not None:
            self._set(WorkerState.ERROR, self.definition.problem)
            return
        if not gate_is_open(self.definition.when, self._home.flags):
            self.state, self.error, self._runner = WorkerState.GATED_OFF, None, None
            return
        if self.state is not WorkerState.LOADING:
            self._set(move(self.state, WorkerState.LOADING), None)
        try:
            self._runner = self._make_runner()
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # the user's module: it may even say sys.exit()
            self._runner = None
            self._set(WorkerState.ERROR, self._why_not_loaded(exc))
            return
        await self._runner.start()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.stop()
            if self._runner.state is not self.state:
                self._set(self._runner.state, self._runner.error)
        elif self.state is WorkerState.ERROR:
            self._set(WorkerState.STOPPED, None)
        elif self.state is WorkerState.LOADING:
            self.state = WorkerState.STOPPED
        self._released()

    def _check_gate(self) -> None:
        if gate_is_open(self.definition.when, self._home.flags):
            return
        flags = list(self.definition.when)
        raise Conflict(
            {
                "reason": "gated_off",
                "message": f"worker {self.qualified_name!r} is gated off; turn on one of: {', '.join(flags)}",
                "when": flags,
            }
        )

    def _why_not_loaded(self, exc: BaseException) -> str:
        if isinstance(exc, SystemExit):
            error = describe(exc)
            return (
                f"the module ended itself on import with SystemExit({exc.code!r}) ({error.place}); "
                "put what runs it under: if __name__ == '__main__':"
            )
        if isinstance(exc, OSError | ValueError) and not describe(exc).frames:
            return str(exc)  # our own refusals name file and rule already
        return str(describe(exc))

    def _set(self, state: WorkerState, error: str | None) -> None:
        """Take over a state of the runner, and tell the runtime."""
        self.state, self.error = state, None if error is None else valid_text(error)
        if state in (WorkerState.STOPPED, WorkerState.ERROR):
            self._released()
        self._services.on_change(self)

    def _status(self) -> str:
        if self._declared:
            return "stopped"
        return STATUS.get(self.state, "stopped")


async def start_all(workers: list[ManagedWorker]) -> None:
    """Start workers side by side; none blocks or fails another."""
    await asyncio.gather(*(worker.start() for worker in workers))


async def stop_all(workers: list[ManagedWorker]) -> None:
    """Stop workers side by side."""
    await asyncio.gather(*(worker.stop() for worker in workers))
