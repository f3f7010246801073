"""`Panels`: the panels of one notebook, one for all workers and one for each shown alone; used by magics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dnworker.core.errors import UsageError
from dnworker.engine.watchdog import Block
from dnworker.runtime import Runtime
from dnworker_jupyter.display.made import Made
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.display.widget_hub import WidgetHub
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.syntax.cell import Cell

if TYPE_CHECKING:  # anywidget takes long to import, and many notebooks show no panel
    from dnworker_jupyter.display.docks import Dock
    from dnworker_jupyter.display.page_link import PageLink
    from dnworker_jupyter.display.panel import Panel, StaticPanel


class Panels:
    """The panels that were shown, by the qualified name of their worker; None is that of all workers."""

    def __init__(self, runtime: Runtime, loop: KernelLoop, cells: CellBook) -> None:
        self._runtime = runtime
        self._loop = loop
        self._cells = cells
        self._panels: dict[str | None, Panel] = {}
        self._docks: dict[str | None, Dock] = {}
        self._links: Made[PageLink] = Made()
        self.widgets = WidgetHub(runtime, loop, self._make_feed, cells.calling)
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

    def dock(self, only: str | None, place: str) -> Dock:
        """Open the panel beside the notebook, in the place of the one of the same workers that is docked.

        Raises:
            UsageError: this is a terminal, or the package for it is missing.
        """
        from dnworker_jupyter.display.docks import Dock
        from dnworker_jupyter.display.panel import Panel

        if self._loop.has_thread:
            raise UsageError(
                "a terminal has nothing to dock the panel to; %panel --open opens its page", code="DN119"
            )
        panel = Panel(self._runtime, self._loop, self._cells, only)
        try:
            dock = Dock(panel, place, "dnworker" if only is None else only)
        except UsageError:
            panel.close()
            raise
        if (before := self._docks.pop(only, None)) is not None:
            before.close()
        self._docks[only] = dock
        dock.announce(asyncio.get_running_loop())
        return dock

    async def open_page(self, cell: Cell | None) -> PageLink | Note:
        """Open the page of the runtime in a browser of this machine, if it has one that somebody sees.

        Returns a link that opens it, in place of those that earlier runs of the cell have made; in a terminal
        the address, good once and for 30 s.

        Raises:
            UsageError: the runtime has no server.
        """
        from dnworker_jupyter.display import page_link

        address = page_link.page_ticket(self._runtime)
        opened = page_link.has_screen() and await asyncio.to_thread(page_link.open_browser, address)
        if self._loop.has_thread:
            return Note("the panel is open in the browser" if opened else f"{address} (once, within 30 s)")
        link = page_link.PageLink(self._runtime, self._loop, opened=opened)
        if cell is not None and cell.id is not None:
            self._links.close_earlier(cell)
        self._links.note(link, cell)
        return link

    def _make_feed(self) -> Panel:
        """Return what carries the messages of all widgets of `dn.widgets`; nothing displays it."""
        from dnworker_jupyter.display.panel import Panel

        return Panel(self._runtime, self._loop, self._cells)

    def _rename(self, former: str, name: str) -> None:
        """Let panels of one worker go on showing it when its capability has another name."""
        for only, panel in [*self._panels.items()]:
            if only is not None and only.startswith(f"{former}:"):
                panel.only = name + only.removeprefix(former)
                self._panels[panel.only] = self._panels.pop(only)
        for only, dock in [*self._docks.items()]:
            if only is not None and only.startswith(f"{former}:"):
                dock.panel.only = name + only.removeprefix(former)
                self._docks[dock.panel.only] = self._docks.pop(only)

    async def ask_for_cell(self, request: dict[str, Any], patience: float) -> bool:
        """Have a view change the notebook that shows it; returns whether one has.

        Args:
            request: `put` or `take_out` as `op`, with the `id` and the `source` of the cell.
            patience: seconds that the views may take.
        """
        shown = [*self._panels.values(), *(dock.panel for dock in [*self._docks.values()])]
        for panel in shown:
            if panel.has_views and await panel.ask_for_cell(request, patience):
                return True
        return False

    def report_paused(self, block: Block | None) -> None:
        """Report to every panel, from any thread, who holds the loop; None when it is free again."""
        docked = [dock.panel for dock in [*self._docks.values()]]
        shared = [self.widgets.open_feed] if self.widgets.open_feed is not None else []
        for panel in [*self._panels.values(), *docked, *shared]:
            panel.report_paused(block)

    def close(self) -> None:
        """Close every panel, dock, link and widget."""
        shown: list[Panel | Dock | PageLink] = [*self._panels.values(), *self._docks.values(), *self._links]
        for one in shown:
            one.close()
        self._panels.clear()
        self._docks.clear()
        self._links = Made()
        self.widgets.close()
