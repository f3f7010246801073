"""`Processes`: live workers that run as processes, from an export of their cells; used by `LiveWorker`."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import WorkerFailed
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.capability import Capability
from dnworker.engine.engine import Engine
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker_jupyter.syntax.options import Options

ProcessTopology = Literal["python", "uv"]

CONNECT_LIMIT = 180.0
"""Seconds until a process must have connected; `uv run` makes its environment at the first start."""


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
        super().__init__(engine.services, capability, definition)

    @property
    def generation(self) -> int:
        """The version of its handlers."""
        return self._number

    @property
    def _root(self) -> Path:
        return self._files


class Processes:
    """The files of the workers that run as processes; they go when the notebook's runtime stops."""

    def __init__(self, engine: Engine, export: ExportWorker) -> None:
        self._engine = engine
        self._export = export
        self._directory: Path | None = None
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
        return self.run(name, command, args, options, root, generation)

    def run(
        self, name: str, command: str, args: tuple[str, ...], options: Options, root: Path, generation: int
    ) -> ProcessWorker:
        """Return a worker that runs a command, whose files are in `root`."""
        definition = WorkerDefinition(
            name, command=command, args=args, env=dict(options.env), when=options.when
        )
        home = self._engine.capability()
        return ProcessWorker(self._engine, home, definition, root, generation)

    def close(self) -> None:
        """Remove the files."""
        directory, self._directory = self._directory, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)

    def directory_of(self, name: str) -> Path:
        """Return a new empty directory for a worker's files; what runs keeps those it was started with."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="dnworker-"))
        self._made += 1
        root = self._directory / f"{name}-{self._made}"
        root.mkdir()
        return root


async def until_connected(worker: SubprocessWorker) -> None:
    """Return when the process listens to events.

    Raises:
        WorkerFailed: it ended before, or took too long; the text has its last output.
    """
    connected = asyncio.ensure_future(worker.connected.wait())
    try:
        async with asyncio.timeout(CONNECT_LIMIT):
            while not connected.done():
                await asyncio.wait({connected}, timeout=0.1)
                if worker.state is not WorkerState.RUNNING:
                    raise WorkerFailed(f"worker {worker.name!r} is in state {worker.state}: {worker.error}")
    except TimeoutError:
        output = "\n".join(worker.detail()["process"]["recent_output"][-10:])
        raise WorkerFailed(
            f"worker {worker.name!r} did not connect within {CONNECT_LIMIT:g} s; its output:\n{output}"
        ) from None
    finally:
        connected.cancel()
