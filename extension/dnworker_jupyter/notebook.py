"""`Notebook`: everything the extension holds for one kernel; `dnworker_jupyter` returns the active one."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from dnworker.core.errors import UsageError
from dnworker.engine.state_watch import StateWatch
from dnworker.runtime import Runtime
from dnworker_jupyter.display.panels import Panels
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.debugging import Debugging
from dnworker_jupyter.kernel.interrupts import Interrupts
from dnworker_jupyter.kernel.late_errors import LateErrors
from dnworker_jupyter.kernel.location import NotebookLocation
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.loop_watch import LoopWatch
from dnworker_jupyter.kernel.output import OutputRouter
from dnworker_jupyter.kernel.pending import PendingMagics
from dnworker_jupyter.kernel.startup import RuntimeStartup
from dnworker_jupyter.kernel.unhandled import UnhandledErrors
from dnworker_jupyter.live.cell_hooks import CellHooks
from dnworker_jupyter.live.processes import Processes
from dnworker_jupyter.live.stale import StaleHandlers
from dnworker_jupyter.live.transactions import Transactions
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.magics.context import MagicContext


@dataclass(eq=False, kw_only=True)
class Notebook:
    """The parts of one kernel's extension, from `%load_ext` to `%unload_ext`; `loading` composes them."""

    # the kernel and the runtime on its loop
    shell: Any
    runtime: Runtime
    loop: KernelLoop
    startup: RuntimeStartup
    watch: LoopWatch
    cells: CellBook
    location: NotebookLocation
    output: OutputRouter
    unhandled: UnhandledErrors
    interrupts: Interrupts
    late_errors: LateErrors
    pending: PendingMagics
    debugging: Debugging
    # live workers
    live: LiveWorkers
    stale: StaleHandlers
    processes: Processes
    transactions: Transactions
    states: StateWatch = field(init=False)
    # what users see
    panels: Panels
    magics: MagicContext = field(init=False)
    # loading
    hooks: CellHooks = field(init=False)
    installed: ExitStack = field(default_factory=ExitStack)
    """Takes out again what was installed."""
    stopping: asyncio.Task[None] | None = None
    """Stops the runtime after `%unload_ext`."""


_active: Notebook | None = None


def active() -> Notebook:
    """Return the loaded notebook.

    Raises:
        UsageError: the extension is not loaded.
    """
    if _active is None:
        raise UsageError("dnworker is not loaded; run: %load_ext dnworker", code="DN107")
    return _active


def set_active(notebook: Notebook | None) -> Notebook | None:
    """Make a notebook the active one, or none; returns the one that was."""
    global _active
    before, _active = _active, notebook
    return before
