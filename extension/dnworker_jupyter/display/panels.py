"""`Panels`: the panels of one notebook, one for all workers and one for each shown alone; used by magics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnworker.engine.watchdog import Block
from dnworker.runtime import Runtime
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.loop import KernelLoop

if TYPE_CHECKING:  # anywidget takes long to import, and many notebooks show no panel
    from dnworker_jupyter.display.panel import Panel, StaticPanel


class Panels:
    """The panels that were shown, by the qualified name of their worker; None is that of all workers."""

    def __init__(self, runtime: Runtime, loop: KernelLoop, cells: CellBook) -> None:
        self._runtime = runtime
        self._loop = loop
        self._cells = cells
        self._panels: dict[str | None, Panel] = {}
        runtime.capabilities.own.renamed.add(self._rename)

    @property
    def callback_threads(self) -> list[str]:
        """The names of the threads on which messages of a front end came last."""
        return [panel.last_thread for panel in [*self._panels.values()] if panel.last_thread]

    def show(self, only: str | None = None) -> Panel | StaticPanel:
        """Return the panel of all workers, or of one, to be displayed; in a terminal, a table."""
        from dnworker_jupyter.display.panel import Panel, StaticPanel

        if self._loop.has_thread:
            return StaticPanel(self._runtime, only)
        panel = self._panels.get(only)
        if panel is None or panel.is_closed:
            panel = self._panels[only] = Panel(self._runtime, self._loop, self._cells, only)
        return panel

    def _rename(self, former: str, name: str) -> None:
        """Let panels of one worker go on showing it when its capability has another name."""
        for only, panel in [*self._panels.items()]:
            if only is not None and only.startswith(f"{former}:"):
                panel.only = name + only.removeprefix(former)
                self._panels[panel.only] = self._panels.pop(only)

    def report_paused(self, block: Block | None) -> None:
        """Report to every panel, from any thread, who holds the loop; None when it is free again."""
        for panel in [*self._panels.values()]:
            panel.report_paused(block)

    def close(self) -> None:
        """Close every panel."""
        for panel in self._panels.values():
            panel.close()
        self._panels.clear()
