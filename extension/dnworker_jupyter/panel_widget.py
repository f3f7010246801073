"""The panel: one anywidget per runtime, fed by batched custom messages (design 4).

Nothing but the latest few hundred lines is held here; views ask for a snapshot when they appear, so closing
a tab or reconnecting loses nothing. Callbacks from the front end may arrive on another thread: they do
nothing but post a command to the kernel's loop.
"""

from __future__ import annotations

import asyncio
import logging
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget

from dnworker.lifecycle import WorkerState
from dnworker_jupyter.magics import workers_table

if TYPE_CHECKING:
    from dnworker.logs import LogLine
    from dnworker.manager import ManagedWorker
    from dnworker.runtime import Runtime

log = logging.getLogger("dnworker.panel")

STATIC = Path(__file__).parent / "static"
LOG_TAIL = 200
INTERVAL = 0.1
"""Seconds between messages to the views: ten a second at most, whatever happens."""


class Panel(anywidget.AnyWidget):
    """Workers with state and handler figures, and the tail of the log, live."""

    _esm = STATIC / "panel.js"
    _css = STATIC / "panel.css"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._sent_line = 0
        self.is_closed = False
        self.on_msg(self._receive)
        self._unlisten = [
            runtime.listen(self._changed.set),
            runtime.logs.listen(lambda _: self._changed.set()),
            runtime.history.listen(lambda _: self._changed.set()),
        ]
        self._pump = self._loop.create_task(self._send_changes(), name="dnworker panel")
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

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add a static table for where no widget can live: GitHub, nbviewer, a terminal."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        table = workers_table(self._runtime.workers())
        tail = "\n".join(line.text for line in self._runtime.logs.tail(20))
        html = table._repr_html_() + (f"<pre>{escape(tail)}</pre>" if tail else "")
        return data | {"text/plain": f"{table!r}\n{tail}".rstrip(), "text/html": html}, metadata

    # -- to the views ----------------------------------------------------------------------------------

    async def _send_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self.send(self._message("update", self._new_lines()))
            await asyncio.sleep(INTERVAL)

    def _new_lines(self) -> list[LogLine]:
        lines = self._runtime.logs.since(self._sent_line, LOG_TAIL)
        if lines:
            self._sent_line = lines[-1].number
        return lines

    def _message(self, kind: str, lines: list[LogLine]) -> dict[str, Any]:
        return {
            "type": kind,
            "runtime": {
                "id": self._runtime.runtime_id,
                "url": self._runtime.url,
                "events": self._runtime.bus.latest_seq,
            },
            "workers": [worker_figures(worker) for worker in self._runtime.workers()],
            "lines": [
                {
                    "number": n.number,
                    "worker": n.worker,
                    "level": n.level,
                    "source": n.source,
                    "text": n.text[:2000],
                }
                for n in lines
            ],
        }

    # -- from the views --------------------------------------------------------------------------------

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take a message of a view; on some kernels this runs on another thread."""
        self._loop.call_soon_threadsafe(self._obey, content)

    def _obey(self, content: Any) -> None:
        match content:
            case {"type": "hello"}:
                self.send(self._message("snapshot", self._runtime.logs.tail(LOG_TAIL)))
            case {"type": "stop" | "start" | "restart" as verb, "worker": str(name), "id": int(number)}:
                task = self._loop.create_task(self._drive(verb, name, number), name=f"panel {verb} {name}")
                self._commands.add(task)
                task.add_done_callback(self._commands.discard)
            case _:
                log.warning("the panel sent a message that is not understood: %r", content)

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
        self._changed.set()


def worker_figures(worker: ManagedWorker) -> dict[str, Any]:
    """Return what a view draws of one worker."""
    return {
        "name": worker.qualified_name,
        "state": str(worker.state),
        "topology": worker.topology_label,
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
                "lastError": str(figures.last_error) if figures.last_error else None,
            }
            for key, figures in worker.figures.items()
        ],
    }
