"""The ways in which a worker runs: on the runtime's own loop, or as a process of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from dnworker.capability.environment import interpolate, worker_environment
from dnworker.capability.flags import flag_variables
from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import WorkerState
from dnworker.core.stats import HandlerStats
from dnworker.events.backlog import Backlog
from dnworker.events.bus import Subscription
from dnworker.workers import reports
from dnworker.workers.loading import load_worker
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.remote import RemoteInvocations
from dnworker.workers.runner import WorkerRunner
from dnworker.workers.services import Home, Services
from dnworker.workers.subprocess_runner import SubprocessWorkerRunner
from dnworker.workers.worker import Worker


class InProcessWorker(ManagedWorker):
    """A worker whose handlers run on the runtime's own loop; `make` gives its Worker, fresh or kept."""

    topology = "in-process"

    def __init__(
        self,
        services: Services,
        home: Home,
        definition: WorkerDefinition,
        make: Callable[[], Worker],
    ) -> None:
        super().__init__(services, home, definition)
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
    def stats(self) -> dict[HandlerKey, HandlerStats]:
        """How each handler has done since the last start."""
        return self._runner.stats if isinstance(self._runner, WorkerRunner) else {}

    @property
    def next_runs(self) -> dict[HandlerKey, datetime]:
        """When each schedule runs next, and each task that crashed, by the runtime's clock."""
        running = isinstance(self._runner, WorkerRunner) and self.state is WorkerState.RUNNING
        return dict(self._runner.next_runs) if running else {}  # type: ignore[union-attr]

    def run_schedule(self, key: HandlerKey) -> None:
        """Begin a run of a schedule's handler now.

        Raises:
            Conflict: the worker is not running, or has no such schedule.
        """
        if not isinstance(self._runner, WorkerRunner):
            raise Conflict(f"worker {self.qualified_name!r}: it is {self.state}")
        self._runner.run_schedule(key)

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
                self._services.on_change(self, announce=False)
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
        bus, history = self._services.bus, self._services.history
        runner = WorkerRunner(
            worker,
            self._services.client(worker=self.name, capability=self.capability),
            event_source=lambda kinds: bus.subscribe(kinds, watcher=history, owner=self.qualified_name),
            on_state_change=self._set,
            qualified_name=self.qualified_name,
            clock=self._services.clock,
            recorder=history,
        )
        runner.generation = self._generation
        return runner


def path_worker(services: Services, home: Home, definition: WorkerDefinition) -> InProcessWorker:
    """Make the worker of a `path:` entry; its file is executed afresh at every start."""

    def make() -> Worker:
        assert definition.path is not None
        return load_worker(home.root, home.name, definition.name, definition.path)

    return InProcessWorker(services, home, definition, make)


class SubprocessWorker(ManagedWorker):
    """A worker that is a process of its own."""

    topology = "subprocess"

    def __init__(self, services: Services, home: Home, definition: WorkerDefinition) -> None:
        super().__init__(services, home, definition)
        self.remote = RemoteInvocations(services.history, self.qualified_name)
        self.connected = asyncio.Event()
        self._token: str | None = None
        self._held: Backlog | None = None

    @property
    def stats(self) -> dict[HandlerKey, HandlerStats]:
        """How each handler has done since the last start, where the process tells."""
        return self.remote.stats

    @property
    def _root(self) -> Path:
        """The directory that the process runs in."""
        return self._home.root

    @property
    def topology_label(self) -> str:
        """The program's name, as in `subprocess (uv)`."""
        return f"subprocess ({Path(self.definition.command or '').name})"

    def open_stream(
        self, kinds: list[str], limit: int, *, feeds_handlers: bool = False
    ) -> tuple[Subscription, int]:
        """Return a subscription for a stream of the process, and how many events it missed.

        The first begins with what was published since the spawn. `fire` waits for what goes to handlers.
        """
        held, self._held = self._held, None
        self.connected.set()
        watcher = self.remote.stream() if feeds_handlers or self.remote.is_fed_by(kinds) else None
        if held is not None:
            return held.claim(kinds or None, limit, watcher)
        bus = self._services.bus
        return bus.subscribe(kinds or None, limit=limit, watcher=watcher, owner=self.qualified_name), 0

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
        definition, home, services = self.definition, self._home, self._services
        assert definition.command is not None
        place = f"worker {self.qualified_name!r}"
        environ = dict(os.environ)
        self._token = services.tokens.mint(self.qualified_name)
        self.connected.clear()
        self.remote = RemoteInvocations(services.history, self.qualified_name, self.generation)
        self._held = Backlog(services.bus, owner=self.qualified_name)
        word = reports.new_word()
        declared = {
            key: interpolate(value, environ, f"{place}, env {key}") for key, value in definition.env.items()
        }
        return SubprocessWorkerRunner(
            interpolate(definition.command, environ, f"{place}, command"),
            [interpolate(a, environ, f"{place}, args[{n}]") for n, a in enumerate(definition.args)],
            env=worker_environment(
                inherited=environ,
                root=self._root,
                capability=home.name,
                version=home.manifest.version,
                worker=self.name,
                flags=flag_variables(home.name, home.flags),
                declared=declared,
                connection=services.connection(self._token),
                path_entries=home.manifest.path_entries,
            )
            | {reports.VARIABLE: word},
            cwd=self._root,
            log_path=self._log_path,
            on_state_change=self._set,
            on_line=self._take_line,
            on_report=self.remote.take,
            report_word=word,
            qualified_name=self.qualified_name,
            guard=services.guard,
        )

    def _take_line(self, text: str, says: reports.Says) -> None:
        if not says.told:
            cause = self.remote.named(says.id)
            self._services.log_line(
                self.qualified_name, text, source=says.source, level=says.level, invocation=cause
            )

    def _released(self) -> None:
        self.remote.close()
        if self._token is not None:
            self._services.tokens.revoke(self._token)
            self._token = None
        held, self._held = self._held, None
        if held is not None:
            held.close()
