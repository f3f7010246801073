"""`MagicContext`: everything that the magics of one kernel work with; `loading` fills it.

`Interrupted` is the error of all magics that the user interrupts.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dnworker.core.errors import NotFound, UsageError, code_of
from dnworker.engine.state_watch import StateWatch
from dnworker.mcp_server.process import McpProcess
from dnworker.runtime import Runtime
from dnworker.workers.managed import ManagedWorker
from dnworker_jupyter.display.panels import Panels
from dnworker_jupyter.kernel.cell_turns import CellTurns
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.debugging import Debugging
from dnworker_jupyter.kernel.interrupts import Interrupts
from dnworker_jupyter.kernel.location import NotebookLocation
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.loop_watch import LoopWatch
from dnworker_jupyter.kernel.pending import PendingMagics
from dnworker_jupyter.kernel.startup import RuntimeStartup
from dnworker_jupyter.live.agent_access import AgentAccess
from dnworker_jupyter.live.capability_head import CapabilityHead
from dnworker_jupyter.live.processes import Processes
from dnworker_jupyter.live.stale import StaleHandlers
from dnworker_jupyter.live.transactions import Transactions
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.magics.suggestions import NotebookSuggestions


class Interrupted(UsageError):
    """The user interrupted a magic while it waited."""

    code = "DN109"


class MagicContext(msgspec.Struct, kw_only=True):
    """The parts of a notebook that magics use, and the workers by name."""

    # the kernel and the runtime on its loop
    shell: Any
    runtime: Runtime
    loop: KernelLoop
    startup: RuntimeStartup
    watch: LoopWatch
    interrupts: Interrupts
    cells: CellBook
    turns: CellTurns
    pending: PendingMagics
    debugging: Debugging
    location: NotebookLocation
    # live workers
    live: LiveWorkers
    stale: StaleHandlers
    processes: Processes
    transactions: Transactions
    head: CapabilityHead
    agents: AgentAccess
    mcp: McpProcess
    # what is shown
    panels: Panels
    suggestions: NotebookSuggestions
    # what handlers change
    states: StateWatch
    # what magics have done
    is_nested: bool = False
    """Whether `%runtime nest` made asyncio re-entrant."""

    @property
    def names(self) -> dict[str, Any]:
        """The names of the notebook."""
        names: dict[str, Any] = self.shell.user_ns
        return names

    def worker(self, name: str) -> ManagedWorker:
        """Return the worker of a name.

        Raises:
            UsageError: there is none.
        """
        try:
            return self.runtime.worker(name)
        except NotFound as exc:
            raise UsageError(str(exc), code=code_of(exc) or "DN301") from None

    def live_worker(self, managed: ManagedWorker) -> LiveWorker:
        """Return what cells know of a worker.

        Raises:
            UsageError: no cells with handlers made it.
        """
        live = self.live.running(managed)
        if live is None:
            raise UsageError(
                f"worker {managed.name!r} was not made of cells with handlers, so it has no generations here",
                code="DN113",
            )
        return live
