"""`Dock`: the panel beside the notebook, by JupyterLab's `sidecar` widget; `%panel --dock` opens it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from IPython.display import display

from dnworker.core.errors import UsageError
from dnworker_jupyter.display.tables import Note

if TYPE_CHECKING:
    from dnworker_jupyter.display.panel import Panel

ANCHORS = {"right": "right", "bottom": "split-bottom", "tab": "tab-after"}
"""What the widget calls each place: the side area, below the notebook, or a tab beside it."""

PLACES = {"right": "at the right", "bottom": "below the notebook", "tab": "as a tab beside the notebook"}

OPEN_SECONDS = 5.0
"""Within these a front end that can dock the panel has opened it."""

NEEDED = (
    "%panel --dock needs the package sidecar, and JupyterLab 4; install it with: %pip install sidecar, then "
    "reload the page of JupyterLab"
)


class Dock:
    """One panel beside the notebook, and the note in the cell that says where it is.

    Args:
        panel: what is docked; no other display shows it, so that its views tell whether the dock is open.
        place: one of `PLACES`.
        title: what its tab says.

    Raises:
        UsageError: the package is missing.
    """

    def __init__(self, panel: Panel, place: str, title: str) -> None:
        try:
            from sidecar import Sidecar
        except ImportError:
            raise UsageError(NEEDED, code="DN902") from None
        self.panel = panel
        self.place = place
        bundle = panel._repr_mimebundle_()
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        shown = {"output_type": "display_data", "data": data, "metadata": metadata}
        # It opens by itself once the front end has it: nothing of it is displayed in the cell.
        self.sidecar = Sidecar(title=title, anchor=ANCHORS[place], outputs=(shown,))
        self._handle: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def announce(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say in the cell where the panel opens; should it not open soon, say what that means."""
        self._handle = display(Note(f"the panel opens {PLACES[self.place]}"), display_id=True)
        self._timer = loop.call_later(OPEN_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        if self.panel.has_views or self._handle is None:
            return
        self._handle.update(
            Note(
                f"the panel did not open {PLACES[self.place]}: this front end is not JupyterLab 4, or its "
                "page was not reloaded since sidecar was installed; %panel shows it here"
            )
        )

    def close(self) -> None:
        """Close the panel and what holds it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.sidecar.outputs = ()
        self.sidecar.close()
        self.panel.close()
