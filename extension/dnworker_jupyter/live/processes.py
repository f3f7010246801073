"""A live worker as a process: the same cells as the exported script, run the way the export would be."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import WorkerFailed
from dnworker.core.lifecycle import WorkerState
from dnworker.runtime import LIVE_CAPABILITY
from dnworker.workers.subprocess_worker import SubprocessWorker

if TYPE_CHECKING:
    from dnworker.engine.capability import Capability
    from dnworker.runtime import Runtime
    from dnworker_jupyter.notebook import Notebook
    from dnworker_jupyter.syntax.options import Options

LiveTopology = Literal["in-process", "python", "uv"]
TOPOLOGIES: tuple[LiveTopology, ...] = ("in-process", "python", "uv")

CONNECT_LIMIT = 180.0
"""Seconds until a process must have connected; `uv run` makes its environment at the first start."""


class BridgedWorker(SubprocessWorker):
    """A worker of this notebook that runs as a process."""

    def __init__(
        self, runtime: Runtime, capability: Capability, definition: WorkerDefinition, root: Path, number: int
    ) -> None:
        self._files = root
        self._number = number
        super().__init__(runtime.services, capability, definition)

    @property
    def generation(self) -> int:
        """The version of its handlers."""
        return self._number

    @property
    def _root(self) -> Path:
        return self._files


class Bridges:
    """The files of the workers that run as processes; they go when the notebook's runtime stops."""

    def __init__(self, book: Notebook) -> None:
        self._book = book
        self._directory: Path | None = None
        self._made = 0

    def make(self, name: str, topology: LiveTopology, options: Options, generation: int) -> BridgedWorker:
        """Write the worker's script as an export would, and return a worker that runs it.

        Raises:
            NotExportable: something that its handlers need cannot leave the kernel; says what, and where.
        """
        from dnworker_jupyter.export.export import live_cells, registered_names
        from dnworker_jupyter.export.planning.plan import plan_export

        assert topology != "in-process"
        plan = plan_export(
            live_cells(self._book),
            default_name=LIVE_CAPABILITY,
            target="dnworker",
            topology=topology,
            only=name,
            registered=registered_names(self._book),
        )
        root = self.directory_of(name)
        for path, data in plan.files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        script = str(root / plan.scripts[name])
        command, args = ("uv", ("run", script)) if topology == "uv" else (sys.executable, (script,))
        definition = WorkerDefinition(
            name, command=command, args=args, env=dict(options.env), when=options.when
        )
        runtime = self._book.runtime
        return BridgedWorker(runtime, runtime.capability(LIVE_CAPABILITY), definition, root, generation)

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
        said = "\n".join(worker.detail()["process"]["recent_output"][-10:])
        raise WorkerFailed(
            f"worker {worker.name!r} did not connect within {CONNECT_LIMIT:g} s; it said:\n{said}"
        ) from None
    finally:
        connected.cancel()
