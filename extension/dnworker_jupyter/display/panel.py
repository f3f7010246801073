"""`Panel`: the panel in a notebook, an anywidget for all workers or for one; `Panels` makes them.

It carries the messages of the feed and keeps no state: views request a snapshot when they appear, so
closing a tab or reconnecting loses nothing.
Messages of the front end may arrive on another thread: they are only posted to the kernel's loop.
"""

from __future__ import annotations

import asyncio
import threading
from html import escape
from typing import Any

import anywidget
from IPython import get_ipython
from traitlets import Unicode

from dnworker.engine.watchdog import Block
from dnworker.panel import assets
from dnworker.panel.log_rows import plain_text
from dnworker.runtime import Runtime
from dnworker_jupyter.display.attached import mark
from dnworker_jupyter.display.tables import workers_table
from dnworker_jupyter.display.traces import has_colours
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.loop import KernelLoop

STILL_LINES = 20
LONGEST_STILL = 4_000
"""Characters of the text that a view shows until it is live, or where it cannot be."""


class Panel(anywidget.AnyWidget):
    """The panel of a notebook, or of one of its workers, as a widget; `dn.panel()` and `%panel` return it.

    It may be displayed in several cells, and shows the same in each. Its state, which a notebook may store,
    is a stub that asks for the module, and a still text.

    Attributes:
        only: the qualified name of the one worker that it shows; None for all.
        is_closed: whether it was closed.

    Examples:
        >>> panel = dn.panel()
        >>> panel.has_views, panel.only
        (False, None)
    """

    _esm = assets.stub()
    version = Unicode("").tag(sync=True)
    still = Unicode("").tag(sync=True)
    only = Unicode(None, allow_none=True).tag(sync=True)

    def __init__(self, runtime: Runtime, loop: KernelLoop, cells: CellBook, only: str | None = None) -> None:
        super().__init__(only=only, version=assets.version())
        self._runtime = runtime
        self._loop = loop
        self._cells = cells
        # messages, and the threads they come on
        self._channel = runtime.feed.connect(self._send_to_view)
        self._loop_thread = threading.get_ident()
        self.last_thread = ""
        self._asked: dict[int, asyncio.Future[bool]] = {}
        """What views were asked to do with the notebook, by number."""
        self._count = 0
        self.is_closed = False
        self.on_msg(self._receive)

    @property
    def has_views(self) -> bool:
        """Whether any view of it is there, visible or not."""
        return self._channel.has_views

    def close(self) -> None:
        """Stop sending and close the views; leaves no listener, task or comm behind."""
        if self.is_closed:
            return
        self.is_closed = True
        self._channel.close()
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add a static table for where no widget can live: GitHub, nbviewer, VS Code without its CDN."""
        still = static_panel(self._runtime, self.only)
        self.still = still["text/plain"][:LONGEST_STILL]
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return data | still, metadata

    def report_paused(self, block: Block | None) -> None:
        """Report to the views, from any thread, who holds the loop.

        Args:
            block: who; None when it is free again.
        """
        if self._channel.has_views:
            self.send({"type": "paused", "by": None if block is None else block.who})

    async def ask_for_cell(self, request: dict[str, Any], patience: float) -> bool:
        """Have the views change the notebook, once.

        Args:
            request: as of `Panels.ask_for_cell`.
            patience: seconds that they may take.

        Returns:
            Whether one has said that it is done.
        """
        self._count += 1
        number = self._count
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self.send({"type": "cell", "number": number, **request})
            async with asyncio.timeout(patience):
                return await answer
        except TimeoutError:
            return False
        finally:
            del self._asked[number]

    def _take_answer(self, content: dict[str, Any]) -> None:
        """Take what a view says of a cell; a view that cannot do it leaves it to the others."""
        number = content.get("number")
        answer = self._asked.get(number) if isinstance(number, int) else None
        if answer is not None and not answer.done() and content.get("is_done") is True:
            answer.set_result(True)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take a message of a view; on some kernels this runs on another thread."""
        self.last_thread = threading.current_thread().name
        if isinstance(content, dict) and content.get("type") == "module":
            version, text, style = assets.version(), assets.module(), assets.style()
            self.send({"type": "module", "version": version, "text": text, "style": style})
            return
        if isinstance(content, dict) and content.get("type") == "cell":
            self._loop.post(self._take_answer, content)
            return
        if threading.get_ident() != self._loop_thread and isinstance(content, dict) and "id" in content:
            cell = self._cells.anywhere
            by = cell.label if cell is not None else None
            self.send({"type": "queued", "view": content.get("view"), "id": content["id"], "by": by})
        self._loop.post(self._forward, content)

    def _forward(self, content: Any) -> None:
        if not self.is_closed:
            self._channel.receive(content)

    def _send_to_view(self, message: dict[str, Any]) -> None:
        if not self.is_closed:
            self.send(message)


class StaticPanel:
    """What `%panel` shows where nothing live can be drawn, as in a terminal: a table of now.

    Examples:
        >>> from dnworker_jupyter.display.panel import StaticPanel
        >>> StaticPanel(dn.runtime(), None)
        worker...state...topology...last error...
    """

    def __init__(self, runtime: Runtime, only: str | None) -> None:
        self._runtime = runtime
        self._only = only

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return static_panel(self._runtime, self._only, colours=has_colours(get_ipython()))


def static_panel(runtime: Runtime, only: str | None, *, colours: bool = False) -> dict[str, str]:
    """Return the workers and the end of the log, or one worker's, as text and as HTML without script."""
    table = workers_table([w for w in runtime.workers() if only in (None, w.qualified_name)])
    table.mark = mark(runtime, colours=colours)
    tail = "\n".join(plain_text(line.text) for line in runtime.logs.tail(STILL_LINES, only))
    html = table._repr_html_() + (f"<pre>{escape(tail)}</pre>" if tail else "")
    return {"text/plain": f"{table!r}\n{tail}".rstrip(), "text/html": html}
