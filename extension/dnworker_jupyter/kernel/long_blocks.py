"""`LongBlocks`: says in the cell that waits who holds the loop for long; the watchdog's thread calls it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from dnworker.core.lifecycle import WorkerState
from dnworker.engine.engine import Engine
from dnworker.engine.watchdog import LONG, Block
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.loop_watch import LoopWatch

log = logging.getLogger("dnworker.kernel")


class LongBlocks:
    """Knows the request of the cell that runs on the kernel's own thread, and writes below that cell.

    Nothing else can: the thread of cells is the one that stands still.
    """

    def __init__(self, shell: Any, engine: Engine, cells: CellBook) -> None:
        self._shell = shell
        self._engine = engine
        self._cells = cells
        self._thread = threading.main_thread()
        self._parent: Any = None
        """The message that asked for the running cell; None while none runs."""

    def install(self, watch: LoopWatch) -> Callable[[], None]:
        """Follow cells and the watchdog; returns what ends it."""
        events, undo = self._shell.events, watch.lasting.add(self._say)
        events.register("pre_run_cell", self._begin)
        events.register("post_run_cell", self._end)

        def uninstall() -> None:
            undo()
            events.unregister("pre_run_cell", self._begin)
            events.unregister("post_run_cell", self._end)

        return uninstall

    def _begin(self, info: Any) -> None:
        kernel: Any = getattr(self._shell, "kernel", None)
        if self._parent is None and threading.current_thread() is self._thread:
            self._parent = kernel.get_parent("shell") if hasattr(kernel, "get_parent") else {}  # a terminal

    def _end(self, result: Any) -> None:
        if threading.current_thread() is self._thread and self._cells.now is None:  # and no code within it
            self._parent = None

    def _say(self, block: Block) -> None:
        parent = self._parent
        if parent is None or block.over or not (block.invocation is not None or self._has_workers()):
            return
        where = f"{block.location}: {block.source}" if block.source else block.location
        who = where if block.invocation is None else f"{block.invocation.label} ({where})"
        text = f"{who} holds the loop for {LONG:g} s now, and every worker waits; Interrupt ends it\n"
        try:
            self._write(parent, text)
        except Exception:  # the log has it, and the watchdog must go on
            log.exception("it could not be said below the cell: %s", text)

    def _write(self, parent: Any, text: str) -> None:
        """Send text as the cell's own, past the streams: those belong to what runs."""
        kernel: Any = getattr(self._shell, "kernel", None)
        stream = sys.__stderr__
        thread = getattr(kernel, "iopub_thread", None)
        if thread is None:
            if stream is not None:
                stream.write(text)
            return
        content = {"name": "stderr", "text": text}
        send = kernel.session.send
        thread.schedule(lambda: send(thread, "stream", content, parent=parent, ident=b"stream.stderr"))

    def _has_workers(self) -> bool:
        return any(
            worker.topology == "in-process" and worker.state is WorkerState.RUNNING
            for worker in self._engine.workers()
        )
