"""The panel: one anywidget per runtime, fed by batched custom messages (design 4).

Nothing but the latest few hundred lines is held here; views ask for a snapshot when they appear, so closing
a tab or reconnecting loses nothing. Callbacks from the front end may arrive on another thread: they do
nothing but post a command to the kernel's loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget

from dnworker.lifecycle import WorkerState
from dnworker.trace import Row, Trace
from dnworker_jupyter.trace_view import BASE64
from dnworker_jupyter.views import workers_table

if TYPE_CHECKING:
    from dnworker.logs import LogLine
    from dnworker.manager import ManagedWorker
    from dnworker.watchdog import Block
    from dnworker_jupyter.notebook import Notebook

log = logging.getLogger("dnworker.panel")

STATIC = Path(__file__).parent / "static"
LOG_TAIL = 200
EVENTS_SHOWN = 50
LONGEST_TEXT = 2_000
LONGEST_IMAGE = 200_000
"""Characters of one picture that is sent to the views."""
INTERVAL = 0.1
"""Seconds between messages to the views: ten a second at most, whatever happens."""


class Panel(anywidget.AnyWidget):
    """Workers with state and handler figures, the latest events with their traces, and the log's tail."""

    _esm = STATIC / "panel.js"
    _css = STATIC / "panel.css"

    def __init__(self, book: Notebook) -> None:
        super().__init__()
        self._book = book
        self._runtime = book.runtime
        self._changed = asyncio.Event()
        self._sent_line = 0
        self._sent_seq = 0
        self._only: str | None = None
        self.last_thread = ""
        self.is_closed = False
        self.on_msg(self._receive)
        self._unlisten = [
            self._runtime.listen(self._poke),
            self._runtime.logs.listen(lambda _: self._poke()),
            self._runtime.history.listen(lambda _: self._poke()),
            self._runtime.bus.tap(lambda _: self._poke()),
        ]
        self._loop_thread = threading.get_ident()
        self._pump = asyncio.get_running_loop().create_task(self._send_changes(), name="dnworker panel")
        self._commands: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Stop sending and close the views; leaves no listener, task or comm behind."""
        if self.is_closed:
            return
        self.is_closed = True
        for unlisten in self._unlisten:
            unlisten()
        self._pump.cancel()
        super().close()

    def show_worker(self, name: str | None) -> None:
        """Show one worker, by its qualified name, or all."""
        self._only = name
        self._poke()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add a static table for where no widget can live: GitHub, nbviewer, VS Code without its CDN."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return data | static_panel(self._book, self._only), metadata

    # -- to the views ----------------------------------------------------------------------------------

    def _poke(self) -> None:
        if threading.get_ident() == self._loop_thread:
            self._changed.set()
        else:  # a line from a thread: set there, it would wake nobody
            self._book.host.post(self._changed.set)

    async def _send_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self.send(self._message("update"))
            await asyncio.sleep(INTERVAL)

    def _message(self, kind: str) -> dict[str, Any]:
        whole = kind == "snapshot"
        logs, history = self._runtime.logs, self._runtime.history
        lines = logs.tail(LOG_TAIL) if whole else logs.since(self._sent_line, LOG_TAIL)
        events = [e for e in history.events(EVENTS_SHOWN) if whole or e.seq > self._sent_seq]
        self._sent_line = lines[-1].number if lines else self._sent_line
        self._sent_seq = self._runtime.bus.latest_seq
        block = self._book.watchdog.block if self._book.watchdog is not None else None
        workers = [w for w in self._runtime.workers() if self._only in (None, w.qualified_name)]
        return {
            "type": kind,
            "runtime": {
                "id": self._runtime.runtime_id,
                "url": self._runtime.url,
                "events": self._runtime.bus.latest_seq,
            },
            "paused": None if block is None else block.who,
            "workers": [worker_figures(worker) for worker in workers],
            "events": [
                {"id": e.event_id, "seq": e.seq, "kind": e.kind, "session": e.session_id} for e in events
            ],
            "lines": [line_figures(line) for line in lines],
        }

    def tell_paused(self, block: Block | None) -> None:
        """Tell the views, from any thread, that the loop stands still, or turns again."""
        self.send({"type": "paused", "by": None if block is None else block.who})

    # -- from the views --------------------------------------------------------------------------------

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take a message of a view; on some kernels this runs on another thread."""
        self.last_thread = threading.current_thread().name
        if threading.get_ident() != self._loop_thread and isinstance(content, dict) and "id" in content:
            cell = self._book.cells.anywhere
            self.send({"type": "queued", "id": content["id"], "by": cell.label if cell is not None else None})
        self._book.host.post(self._obey, content)

    def _obey(self, content: Any) -> None:
        match content:
            case {"type": "hello"}:
                self.send(self._message("snapshot"))
            case {"type": "trace", "event": str(event_id), "id": int(number)}:
                self._send_trace(event_id, number)
            case {"type": "stop" | "start" | "restart" as verb, "worker": str(name), "id": int(number)}:
                task = asyncio.ensure_future(self._drive(verb, name, number))
                self._commands.add(task)
                task.add_done_callback(self._commands.discard)
            case _:
                log.warning("the panel sent a message that is not understood: %r", content)

    def _send_trace(self, event_id: str, number: int) -> None:
        event = self._runtime.history.event(event_id)
        if event is None:
            self.send({"type": "failed", "id": number, "text": "that event is kept no longer"})
            return
        rows = [row_figures(row) for row in Trace(event, self._runtime.history).rows()]
        self.send({"type": "trace", "id": number, "event": event_id, "rows": rows})

    async def _drive(self, verb: str, name: str, number: int) -> None:
        self.send({"type": "ack", "id": number})
        try:
            worker = self._runtime.worker(name)
            if verb == "stop":
                await worker.stop()
            else:
                await worker.restart(force=verb == "restart")
        except Exception as exc:
            self.send({"type": "failed", "id": number, "text": f"{verb} {name}: {exc}"})
        else:
            self.send({"type": "done", "id": number})
        self._poke()


class StaticPanel:
    """What `%panel` shows where nothing live can be drawn: a terminal."""

    def __init__(self, book: Notebook, only: str | None) -> None:
        self._book = book
        self._only = only

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return static_panel(self._book, self._only)


def static_panel(book: Notebook, only: str | None) -> dict[str, str]:
    """Return the workers and the end of the log, or one worker's, as text and as HTML without script."""
    table = workers_table([w for w in book.runtime.workers() if only in (None, w.qualified_name)])
    tail = "\n".join(line.text for line in book.runtime.logs.tail(20, only))
    html = table._repr_html_() + (f"<pre>{escape(tail)}</pre>" if tail else "")
    return {"text/plain": f"{table!r}\n{tail}".rstrip(), "text/html": html}


def line_figures(line: LogLine) -> dict[str, Any]:
    """Return what a view draws of one line of the log."""
    return {
        "number": line.number,
        "worker": line.worker,
        "level": line.level,
        "source": line.source,
        "text": line.text[:LONGEST_TEXT],
        "image": image_of(line),
    }


def image_of(line: LogLine) -> str | None:
    """Return the picture that a handler displayed, as a data URL, if it is one and not too large."""
    for kind in ("image/png", "image/jpeg"):
        data = (line.data or {}).get(kind)
        if isinstance(data, str) and len(data) <= LONGEST_IMAGE and BASE64.fullmatch(data):
            return f"data:{kind};base64,{''.join(data.split())}"
    return None


def row_figures(row: Row) -> dict[str, Any]:
    """Return what a view draws of one row of a trace."""
    return {
        "depth": row.depth,
        "sort": row.sort,
        "text": row.text[:LONGEST_TEXT],
        "outcome": row.outcome,
        "bar": row.bar,
    }


def worker_figures(worker: ManagedWorker) -> dict[str, Any]:
    """Return what a view draws of one worker."""
    return {
        "name": worker.qualified_name,
        "state": str(worker.state),
        "topology": worker.topology_label,
        "inProcess": worker.topology == "in-process",
        "generation": worker.generation,
        "restarts": worker.restarts,
        "error": worker.error,
        "can": {
            "start": worker.state in (WorkerState.STOPPED, WorkerState.ERROR),
            "stop": worker.state in (WorkerState.RUNNING, WorkerState.STARTING, WorkerState.ERROR),
            "restart": worker.state is WorkerState.RUNNING,
        },
        "handlers": [
            {
                "decorator": key[0],
                "what": key[1],
                "name": key[2],
                "calls": figures.calls,
                "errors": figures.errors,
                "inFlight": figures.in_flight,
                "missed": figures.missed,
                "lastError": str(figures.last_error) if figures.last_error else None,
            }
            for key, figures in worker.figures.items()
        ],
    }
