"""`WidgetHub`: listens to the runtime once for all widgets of `dn.widgets`, and has them look at it again.

Nothing is listened to while no widget is open. However much happens, widgets look at most ten times a
second, on the runtime's loop, also where no front end shows them: observers in Python hear of what they see.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dnworker.core.errors import UsageError
from dnworker.panel.pace import Pace
from dnworker.runtime import Runtime
from dnworker_jupyter.display.made import Made
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.syntax.cell import Cell

if TYPE_CHECKING:  # anywidget takes long to import, and many notebooks show no widget
    from dnworker.core.logs import LogLine
    from dnworker_jupyter.display.panel import Panel

log = logging.getLogger("dnworker.notebook")

INTERVAL = 0.1
"""Seconds between two looks of the widgets: ten a second at most."""

STILL_INTERVAL = 1.0
"""Seconds after which those look again that change though nothing happens, as a rate does."""

MOST = 200
"""Widgets that may be open at a time."""


class Looking(Protocol):
    """A widget, as the hub knows it."""

    is_timed: bool

    def refresh(self) -> None:
        """Take over what the runtime is like now."""

    def rename(self, former: str, name: str) -> None:
        """Follow a capability that has another name now."""

    def close(self) -> None:
        """Close it."""


@runtime_checkable
class Listening(Looking, Protocol):
    """A widget that shows lines of the log."""

    def note_line(self, line: LogLine) -> None:
        """Take a new line of the log, on whatever thread it was written."""


class WidgetHub:
    """The open widgets of one notebook.

    Args:
        runtime: what they show.
        loop: the runtime's.
        feed: makes the channel that all of them share in the front end.
        calling: returns the cell whose own code calls, which then has made the widget.
    """

    def __init__(
        self,
        runtime: Runtime,
        loop: KernelLoop,
        feed: Callable[[], Panel],
        calling: Callable[[], Cell | None] = lambda: None,
    ) -> None:
        self.runtime = runtime
        self.loop = loop
        self._make_feed = feed
        self._calling = calling
        self._feed: Panel | None = None
        self.suggest: Callable[[str], Awaitable[tuple[dict[str, Any], str]]] | None = None
        """Proposes a payload for a kind, once something can."""
        self.fire: Callable[..., Awaitable[Any]] | None = None
        """Fires an event as a cell does, once the runtime is ready."""
        self._widgets: Made[Looking] = Made()
        self._tails: list[Listening] = []  # of these widgets, those that show lines
        self._listening = ExitStack()
        # when they look next
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._begun: set[asyncio.Task[None]] = set()

    @property
    def feed(self) -> Panel | None:
        """The channel of all widgets; None in a terminal, which shows no widget."""
        if self._feed is None and not self.loop.has_thread:
            self._feed = self._make_feed()
        return self._feed

    @property
    def open_feed(self) -> Panel | None:
        """The channel of all widgets, if there is one yet."""
        return self._feed

    @property
    def is_listening(self) -> bool:
        """Whether the runtime is listened to, because some widget is open."""
        return len(self._widgets) > 0

    def add(self, widget: Looking) -> None:
        """Have a widget look from now on, in place of those that earlier runs of the same cell have made.

        Without an id, two cells of one text cannot be told from one that runs again: then earlier widgets
        go only when there is no more room.

        Raises:
            UsageError: too many are open.
        """
        cell = self._calling()
        if cell is not None and (cell.id is not None or len(self._widgets) >= MOST):
            self._widgets.close_earlier(cell)
        if len(self._widgets) >= MOST:
            raise UsageError(
                f"{MOST} widgets are open already; close some: widget.close(), or dn.widgets.close_all()",
                code="DN119",
            )
        self._widgets.note(widget, cell)
        if isinstance(widget, Listening):
            self._tails.append(widget)
        if len(self._widgets) == 1:  # once it is there: the loop may be another thread's
            self._listen()

    def remove(self, widget: Looking) -> None:
        """Let a widget go; the last one leaves no listener."""
        self._widgets.forget(widget)
        self._tails = [tail for tail in self._tails if tail is not widget]
        if not self.is_listening:
            self._unlisten()

    def close(self) -> None:
        """Close all widgets and what they share."""
        for widget in self._widgets:
            widget.close()
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    def begin(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something of a widget on the loop, from any thread."""

        def start() -> None:
            task = asyncio.get_running_loop().create_task(make(), name="dnworker widget")
            self._begun.add(task)
            task.add_done_callback(self._end)

        self.loop.post(start)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._begun.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.warning("a widget could not do what it began: %s", exc)

    def notify(self, *_: object) -> None:
        """Have the widgets look soon; may be called from any thread, and by whatever tells of a change."""
        if not self._is_due:
            self._is_due = True
            self.loop.post(self._schedule)

    def _listen(self) -> None:
        runtime, undo = self.runtime, self._listening.callback
        undo(runtime.listen(self.notify))
        undo(runtime.history.listen(self.notify))
        undo(runtime.history.listen_elsewhere(self.notify))
        undo(runtime.logs.listen(self._note_line))
        undo(runtime.capabilities.own.renamed.add(self._rename))
        self.notify()

    def _unlisten(self) -> None:
        self._listening.close()
        self._is_due = False
        for waiting in (self._timer, self._task):
            if waiting is not None:
                waiting.cancel()
        self._timer = self._task = None

    def _note_line(self, line: LogLine) -> None:
        for tail in self._tails:
            tail.note_line(line)
        self.notify()

    def _rename(self, former: str, name: str) -> None:
        for widget in self._widgets:
            widget.rename(former, name)
        self.notify()

    def _schedule(self) -> None:
        """Look when it is time; on the loop."""
        if not self.is_listening:
            self._is_due = False
            return
        if self._task is not None and not self._task.done():
            return  # the task looks again when it is done
        if self._timer is not None:
            self._timer.cancel()
        wait = max(0.0, self._looked_at + INTERVAL - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(wait, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._look(), name="dnworker widgets")

    async def _look(self) -> None:
        """Have each widget look; what an observer of one raises is logged, and keeps nobody from looking."""
        self._is_due, self._looked_at = False, time.monotonic()
        pace = Pace()
        for widget in self._widgets:
            try:
                widget.refresh()
            except Exception:
                log.exception("%s: an observer failed, or the widget itself", type(widget).__name__)
            await pace.rest()
        self._task = None
        if self._is_due:
            self._schedule()
        elif any(widget.is_timed for widget in self._widgets):
            self._timer = asyncio.get_running_loop().call_later(STILL_INTERVAL, self._begin)


_active: WidgetHub | None = None


def active_hub() -> WidgetHub:
    """Return the hub of the loaded notebook.

    Raises:
        UsageError: the extension is not loaded.
    """
    if _active is None:
        raise UsageError("dnworker is not loaded; run: %load_ext dnworker", code="DN107")
    return _active


def activate(hub: WidgetHub) -> Callable[[], None]:
    """Let widgets that are made from now on belong to a hub; returns what ends that."""
    global _active
    _active = hub

    def end() -> None:
        global _active
        if _active is hub:
            _active = None

    return end
