"""`Debugging`: the parts by which cells of one notebook debug handlers; `loading` makes and installs it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from dnworker.engine.engine import Engine
from dnworker_jupyter.kernel.breakpoints import Breakpoints
from dnworker_jupyter.kernel.cell_input import CellInput
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.interrupts import Interrupts
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.loop_watch import LoopWatch
from dnworker_jupyter.kernel.post_mortem import PostMortem
from dnworker_jupyter.kernel.stops import Stops
from dnworker_jupyter.kernel.waiting_cells import WaitingCells


class Debugging:
    """The cells that wait for handlers, the breakpoints that stop there, the failures that can be entered."""

    def __init__(
        self,
        engine: Engine,
        shell: Any,
        *,
        loop: KernelLoop,
        cells: CellBook,
        watch: LoopWatch,
        interrupts: Interrupts,
    ) -> None:
        kernel, stops = getattr(shell, "kernel", None), Stops(engine, watch)
        self.waiting = WaitingCells(engine, loop, cells, kernel)
        self.breakpoints = Breakpoints(engine, self.waiting, stops, kernel)
        self.post_mortem = PostMortem(engine, shell, cells=cells, waiting=self.waiting, stops=stops)
        interrupts.is_asking = CellInput.is_asking

    def install(self) -> Callable[[], None]:
        """Put every hook in; returns what takes them out and lets all frames go."""
        undo = ExitStack()
        for part in (self.waiting, self.breakpoints, self.post_mortem):
            undo.callback(part.install())
        return undo.close
