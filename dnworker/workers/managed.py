"""`ManagedWorker`: starts, stops and restarts one declared worker (contract 2.7, 3.6, 4.8).

It is the lifecycle; `inprocess_worker` and `subprocess_worker` make the runner.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol

from dnworker.capability.flags import gate_is_open
from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import describe
from dnworker.core.lifecycle import ALIVE, STATUS, Lifecycle, Transition, WorkerState
from dnworker.core.models import ComponentInfo
from dnworker.core.stats import HandlerStats
from dnworker.workers.services import Home, Services


class Runner(Protocol):
    """Runs the handlers or the process of one start, and takes the steps of its lifecycle."""

    async def start(self) -> None:
        """Run; a failure is state `error`, never an exception."""

    async def stop(self) -> None:
        """End what runs; harmless in any state."""


if TYPE_CHECKING:
    from typing_extensions import TypeVar  # whose default lets others write `ManagedWorker` alone

    R = TypeVar("R", bound=Runner, default=Any)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=Runner)


class ManagedWorker(Generic[R]):
    """One declared worker, where it is in its lifecycle, and the runner of its present start.

    Args:
        services: the parts of the runtime that it uses.
        home: the capability that it belongs to.
        definition: what the manifest says of it.
    """

    topology = ""

    def __init__(self, services: Services, home: Home, definition: WorkerDefinition) -> None:
        self.definition = definition
        self.restarts = 0
        self._services = services
        self._home = home
        self._lifecycle = Lifecycle()
        self._lifecycle.listen(self._moved)
        self._runner: R | None = None
        self._lock = asyncio.Lock()

    @property
    def state(self) -> WorkerState:
        """The state that it is in."""
        return self._lifecycle.state

    @property
    def error(self) -> str | None:
        """Why it is in `error`, or what its shutdown handlers raised."""
        return self._lifecycle.error

    @property
    def losses(self) -> str | None:
        """How many events it has not got, and why; None while there are none."""
        return None

    @property
    def transitions(self) -> deque[Transition]:
        """The newest steps that it took, oldest first."""
        return self._lifecycle.transitions

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
    def is_starting(self) -> bool:
        """Whether it will handle events, and does not yet."""
        return self.state in (WorkerState.LOADING, WorkerState.STARTING)

    def may_hear(self, kind: str) -> bool:
        """Return whether it listens to a kind, as far as is known; while nothing is known, it may."""
        return not self.stats or any(key[:2] == ("on_event", kind) for key in self.stats)

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

    async def resume(self) -> None:
        """Start with what it had when it was stopped, where it can keep that."""
        await self.start()

    async def stop(self) -> None:
        """Stop through the full sequence; harmless in any state."""
        if self._is_starting:
            await self._interrupt_start()
        async with self._lock:
            await self._stop()

    async def close_gate(self) -> None:
        """Stop because a flag changed; the state is `gated_off` afterwards."""
        await self.stop()
        async with self._lock:
            self._gate_off()
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
            status=STATUS.get(self.state, "stopped"),
            error=self.error,
            detail="; ".join(filter(None, (self.losses, self.last_handler_error))) or None,
        )

    @property
    def last_handler_error(self) -> str | None:
        """What a handler raised last, with its location; the worker itself may run on (contract 11.11)."""
        errors = [(key, f.last_error) for key, f in self.stats.items() if f.last_error is not None]
        return f"last handler error: {errors[-1][0].name}: {errors[-1][1]}" if errors else None

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

    def _make_runner(self) -> R:
        """Return what runs the worker from a start on; called in state `loading`, may raise anything."""
        raise NotImplementedError

    @property
    def _is_starting(self) -> bool:
        """Whether a start is under way, which holds the lock."""
        return self.state is WorkerState.STARTING

    async def _interrupt_start(self) -> None:
        """End a start that may hang; `stop` calls it while the start holds the lock."""

    def _let_go(self) -> None:
        """Let go of what the start took; called when the worker has stopped or failed, maybe twice."""

    # -- the lifecycle ---------------------------------------------------------------------------------

    async def _start(self) -> None:
        if self.state in ALIVE:
            return  # somebody else has started it meanwhile
        if self.definition.problem is None and not gate_is_open(self.definition.when, self._home.flags):
            self._gate_off()
            return
        if self.state is not WorkerState.LOADING:
            self._lifecycle.to(WorkerState.LOADING)
        self._runner = None
        if self.definition.problem is not None:
            self._lifecycle.to(WorkerState.ERROR, self.definition.problem)
            return
        try:
            runner = self._make_runner()
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # the user's module: it may even say sys.exit()
            self._lifecycle.to(WorkerState.ERROR, self._why_not_loaded(exc))
            return
        self._runner = runner
        await runner.start()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.stop()
        elif self.state is WorkerState.ERROR:
            self._lifecycle.to(WorkerState.STOPPED)
        elif self.state is WorkerState.LOADING:  # it was never started
            self._lifecycle.to(WorkerState.STOPPED, quiet=True)
        self._let_go()

    def _gate_off(self) -> None:
        """Be gated off; health says so without an event (contract 2.7)."""
        if self.state is not WorkerState.GATED_OFF:
            self._lifecycle.to(WorkerState.GATED_OFF, quiet=True)
        self._runner = None

    def _moved(self, state: WorkerState, error: str | None) -> None:
        """Notify the runtime of a step."""
        if state in (WorkerState.STOPPED, WorkerState.ERROR):
            self._let_go()
        self._services.on_change(self)

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
            return str(exc)  # our own errors name file and rule already
        return str(describe(exc))


async def start_all(workers: Iterable[ManagedWorker]) -> None:
    """Start workers side by side; none blocks or fails another."""
    await asyncio.gather(*(worker.start() for worker in workers))


async def stop_all(workers: Iterable[ManagedWorker]) -> None:
    """Stop workers side by side."""
    await asyncio.gather(*(worker.stop() for worker in workers))
