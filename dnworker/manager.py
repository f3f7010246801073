"""The declared workers of a runtime: gate, load, start, stop, restart (contract 2.7, 3.6, 4.8).

Three topologies, one lifecycle. `ManagedWorker` is the lifecycle; its subclasses make the runner.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.bus import Subscription
from dnworker.capability.environment import interpolate, worker_environment
from dnworker.capability.flags import flag_variables, gate_is_open
from dnworker.capability.loading import load_worker
from dnworker.capability.manifest import WorkerDefinition
from dnworker.errors import Conflict
from dnworker.hold import Hold
from dnworker.invocation import describe
from dnworker.lifecycle import STATUS, WorkerState, move
from dnworker.models import ComponentInfo
from dnworker.process import SubprocessWorkerRunner
from dnworker.runner import Figures, HandlerKey, WorkerRunner
from dnworker.worker import Worker

if TYPE_CHECKING:
    from dnworker.capability.registry import Capability
    from dnworker.runtime import Runtime

log = logging.getLogger("dnworker.manager")


class ManagedWorker:
    """One declared worker and where it is in its lifecycle."""

    topology = ""

    def __init__(self, runtime: Runtime, capability: Capability, definition: WorkerDefinition) -> None:
        self.definition = definition
        self.state = WorkerState.LOADING
        self.error: str | None = None
        self.restarts = 0
        self._declared = True  # not started yet: health says stopped
        self._runtime = runtime
        self._capability = capability
        self._runner: WorkerRunner | SubprocessWorkerRunner | None = None
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        """The key in the manifest."""
        return self.definition.name

    @property
    def capability(self) -> str:
        """The name of the capability it belongs to."""
        return self._capability.name

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
    def figures(self) -> dict[HandlerKey, Figures]:
        """How each handler has done since the last start."""
        return {}

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
        """What a handler raised last, with its place; the worker itself may run on (contract 11 no. 11)."""
        errors = [(key, f.last_error) for key, f in self.figures.items() if f.last_error is not None]
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
        if not gate_is_open(self.definition.when, self._capability.flags):
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
        if gate_is_open(self.definition.when, self._capability.flags):
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
        self.state, self.error = state, error
        if state in (WorkerState.STOPPED, WorkerState.ERROR):
            self._released()
        self._runtime.worker_changed(self)

    def _status(self) -> str:
        if self._declared:
            return "stopped"
        return STATUS.get(self.state, "stopped")


class InProcessWorker(ManagedWorker):
    """A worker whose handlers run on the runtime's own loop; `make` gives its Worker, fresh or kept."""

    topology = "in-process"

    def __init__(
        self,
        runtime: Runtime,
        capability: Capability,
        definition: WorkerDefinition,
        make: Callable[[], Worker],
    ) -> None:
        super().__init__(runtime, capability, definition)
        self._make = make
        self._generation = 1

    @property
    def worker(self) -> Worker | None:
        """The Worker whose handlers run, or ran last."""
        return self._runner.worker if isinstance(self._runner, WorkerRunner) else None

    @property
    def generation(self) -> int:
        """The version of its handlers."""
        return self._generation

    @property
    def figures(self) -> dict[HandlerKey, Figures]:
        """How each handler has done since the last start."""
        return self._runner.figures if isinstance(self._runner, WorkerRunner) else {}

    async def swap(
        self, make: Callable[[], Worker], make_fresh: Callable[[], Worker], *, generation: int, restart: bool
    ) -> None:
        """Run the next generation: swapped in while the worker runs, else by a (re)start.

        Args:
            make: gives the Worker with the new handlers and the state as it is.
            make_fresh: gives it with the state of a start.
            generation: its number.
            restart: whether startup or shutdown handlers changed, so that state must begin anew.
        """
        async with self._lock:
            self._make, self._generation = make_fresh, generation
            if self.state is WorkerState.RUNNING and not restart and isinstance(self._runner, WorkerRunner):
                await self._runner.swap(make())
                self._runner.generation = generation
                self._runtime.worker_changed(self, announce=False)
                return
            await self._stop()
            await self._start()

    def detail(self) -> dict[str, Any]:
        """Return the detail of contract 6.5."""
        worker = self.worker
        handlers = (
            None
            if worker is None
            else {
                "startup": len(worker._startup_handlers),
                "shutdown": len(worker._shutdown_handlers),
                "event_kinds": list(worker._event_handlers),
                "schedules": len(worker._every_handlers),
                "tasks": len(worker._task_handlers),
            }
        )
        return super().detail() | {"handlers": handlers}

    def _make_runner(self) -> WorkerRunner:
        worker = self._make()
        bus, history = self._runtime.bus, self._runtime.history
        runner = WorkerRunner(
            worker,
            self._runtime.client(worker=self.name, capability=self.capability),
            event_source=lambda kinds: bus.subscribe(kinds, watcher=history),
            on_state_change=self._set,
            qualified_name=self.qualified_name,
            clock=self._runtime.clock,
            recorder=history,
        )
        runner.generation = self._generation
        return runner


def path_worker(runtime: Runtime, capability: Capability, definition: WorkerDefinition) -> InProcessWorker:
    """Make the worker of a `path:` entry; its file is executed afresh at every start."""

    def make() -> Worker:
        assert definition.path is not None
        return load_worker(capability.root, capability.name, definition.name, definition.path)

    return InProcessWorker(runtime, capability, definition, make)


class SubprocessWorker(ManagedWorker):
    """A worker that is a process of its own."""

    topology = "subprocess"

    def __init__(self, runtime: Runtime, capability: Capability, definition: WorkerDefinition) -> None:
        super().__init__(runtime, capability, definition)
        self._token: str | None = None
        self._held: Hold | None = None

    @property
    def topology_label(self) -> str:
        """The program's name, as in `subprocess (uv)`."""
        return f"subprocess ({Path(self.definition.command or '').name})"

    def claim_held(self, kinds: list[str], limit: int) -> tuple[Subscription, int] | None:
        """Hand over, once, what was published since the spawn, and how many events had to be cut."""
        held, self._held = self._held, None
        return None if held is None else held.claim(kinds or None, limit)

    def detail(self) -> dict[str, Any]:
        """Return the detail of contract 6.5."""
        runner = self._runner if isinstance(self._runner, SubprocessWorkerRunner) else None
        process = {
            "command": self.definition.command,
            "args": list(self.definition.args),
            "pid": runner.pid if runner else None,
            "log_path": str(self._log_path),
            "recent_output": runner.recent_output if runner else [],
        }
        return super().detail() | {"kind": "subprocess", "process": process}

    @property
    def _log_path(self) -> Path:
        return Path.home() / ".dreadnode" / "logs" / f"worker-{self.capability}-{self.name}.log"

    def _make_runner(self) -> SubprocessWorkerRunner:
        definition, capability, runtime = self.definition, self._capability, self._runtime
        assert definition.command is not None
        place = f"worker {self.qualified_name!r}"
        environ = dict(os.environ)
        self._token = runtime.tokens.mint(self.qualified_name)
        self._held = Hold(runtime.bus)
        declared = {
            key: interpolate(value, environ, f"{place}, env {key}") for key, value in definition.env.items()
        }
        return SubprocessWorkerRunner(
            interpolate(definition.command, environ, f"{place}, command"),
            [interpolate(a, environ, f"{place}, args[{n}]") for n, a in enumerate(definition.args)],
            env=worker_environment(
                inherited=environ,
                root=capability.root,
                capability=capability.name,
                version=capability.manifest.version,
                worker=self.name,
                flags=flag_variables(capability.name, capability.flags),
                declared=declared,
                connection=runtime.connection(self._token),
                path_entries=capability.manifest.path_entries,
            ),
            cwd=capability.root,
            log_path=self._log_path,
            on_state_change=self._set,
            on_line=lambda text: self._runtime.log_line(self.qualified_name, text),
            qualified_name=self.qualified_name,
            guard=runtime.guard,
        )

    def _released(self) -> None:
        if self._token is not None:
            self._runtime.tokens.revoke(self._token)
            self._token = None
        held, self._held = self._held, None
        if held is not None:
            held.close()


async def start_all(workers: list[ManagedWorker]) -> None:
    """Start workers side by side; none blocks or fails another."""
    await asyncio.gather(*(worker.start() for worker in workers))


async def stop_all(workers: list[ManagedWorker]) -> None:
    """Stop workers side by side."""
    await asyncio.gather(*(worker.stop() for worker in workers))
