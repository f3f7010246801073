"""`Processes`: live workers that run as processes, from an export of their cells; used by `LiveWorker`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import WorkerFailed
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.capability import Capability
from dnworker.engine.engine import Engine
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker_jupyter.kernel.directory import Directory, remove_left
from dnworker_jupyter.syntax.options import Options

ProcessTopology = Literal["python", "uv"]

CONNECT_LIMIT = 180.0
"""Seconds until a process must be up; `uv run` makes its environment at the first start."""

POLL = 0.05
"""Seconds between two looks at a process that starts."""

HELLO_LIMIT = 0.5
"""Seconds that a process which listens has to report what it runs; one that does not report is up then."""


ExportWorker = Callable[[str, ProcessTopology], tuple[Mapping[str, bytes], str]]
"""Exports one worker: gives the files by path, and the path of its script.

Raises NotExportable when its handlers need something that cannot leave the kernel; names it and its location.
"""


class ProcessWorker(SubprocessWorker):
    """A worker of this notebook that runs as a process, from files in a directory of its own."""

    def __init__(
        self, engine: Engine, capability: Capability, definition: WorkerDefinition, root: Path, number: int
    ) -> None:
        self._files = root
        self._number = number
        self.exported: Mapping[str, bytes] = {}
        """What it was made of, by path; empty for a command that is no export."""
        super().__init__(engine.services, capability, definition)

    @property
    def generation(self) -> int:
        """The version of its handlers."""
        return self._number

    def _note_code(self, args: Iterable[str]) -> None:
        """Its code is that of cells, whose generations are kept with them."""

    @property
    def _root(self) -> Path:
        return self._files


class Processes:
    """The files of the workers that run as processes; they go when the notebook's runtime stops."""

    def __init__(self, engine: Engine, export: ExportWorker) -> None:
        self._engine = engine
        self._export = export
        self._directory: Directory | None = None
        self._made = 0

    def make(self, name: str, topology: ProcessTopology, options: Options, generation: int) -> ProcessWorker:
        """Write the worker's script as an export would, and return a worker that runs it.

        Raises:
            NotExportable: something that its handlers need cannot leave the kernel.
        """
        files, script = self._export(name, topology)
        root = self.directory_of(name)
        for relative, data in files.items():
            file = root / relative
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        path = str(root / script)
        command, args = ("uv", ("run", path)) if topology == "uv" else (sys.executable, (path,))
        worker = self.run(name, command, args, options, root, generation)
        worker.exported = files
        return worker

    def is_same(self, worker: ProcessWorker, name: str, topology: ProcessTopology) -> bool:
        """Return whether an export would give what a worker was made of, to the byte.

        Raises:
            NotExportable: something that its handlers need cannot leave the kernel.
        """
        return self._export(name, topology)[0] == worker.exported

    def run(
        self, name: str, command: str, args: tuple[str, ...], options: Options, root: Path, generation: int
    ) -> ProcessWorker:
        """Return a worker that runs a command, whose files are in `root`."""
        definition = WorkerDefinition(
            name,
            command=command,
            args=args,
            env=dict(options.env),
            when=options.when,
            keep_state=options.keep_state,
            check_payloads=options.check_payloads,
        )
        home = self._engine.capability()
        return ProcessWorker(self._engine, home, definition, root, generation)

    def close(self) -> None:
        """Remove the files."""
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.remove()

    def directory_of(self, name: str) -> Path:
        """Return a new empty directory for a worker's files; what runs keeps those it was started with."""
        if self._directory is None:
            self._directory = Directory("workers")
            remove_left()
        self._made += 1
        root = self._directory.path / f"{name}-{self._made}"
        root.mkdir()
        return root


async def until_up(worker: SubprocessWorker) -> None:
    """Return when the process listens to events, if it has handlers of any, and has run its startup handlers.

    Of a process that does not report what it runs, the first is all that can be known.

    Raises:
        WorkerFailed: it ended before, or took too long; the text has its last output.
    """
    if worker.debug is not None and worker.debug.wait:
        return  # it begins when somebody attaches
    connected_for = 0.0
    try:
        async with asyncio.timeout(CONNECT_LIMIT):
            while not _is_up(worker) and connected_for < HELLO_LIMIT:
                connected_for += POLL if worker.connected.is_set() and not worker.remote.reports else 0
                if worker.state is not WorkerState.RUNNING:
                    raise WorkerFailed(f"worker {worker.name!r} is in state {worker.state}: {worker.error}")
                await asyncio.sleep(POLL)
    except TimeoutError:
        output = "\n".join(worker.detail()["process"]["recent_output"][-10:])
        raise WorkerFailed(
            f"worker {worker.name!r} did not come up within {CONNECT_LIMIT:g} s; its output:\n{output}",
            code="DN310",
        ) from None


def _is_up(worker: SubprocessWorker) -> bool:
    if not worker.remote.reports:
        return False
    listens = worker.connected.is_set() or all(key.decorator != "on_event" for key in worker.stats)
    starting = [one for key, one in worker.stats.items() if key.decorator == "on_startup"]
    return listens and all(one.calls > one.in_flight and not one.is_failing for one in starting)
