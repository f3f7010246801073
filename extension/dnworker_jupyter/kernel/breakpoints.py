"""`Breakpoints`: `breakpoint()` and `pdb.set_trace()` in a handler stop in the cell that waits for it.

Where no handler runs, and where the user has chosen a debugger of another kind, they do what they did before.
"""

from __future__ import annotations

import bdb
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import FrameType
from typing import Any

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.locations import location_of
from dnworker.engine.engine import Engine
from dnworker.engine.watchdog import running_invocation
from dnworker.workers.around import Handler
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.registry import handlers_of
from dnworker_jupyter.kernel.cell_input import CellInput, in_debugger
from dnworker_jupyter.kernel.cell_pdb import STDLIB_PDB, CellPdb, Hooks
from dnworker_jupyter.kernel.patching import replace
from dnworker_jupyter.kernel.redirects import own_streams
from dnworker_jupyter.kernel.stops import Stops
from dnworker_jupyter.kernel.user_frames import code_of
from dnworker_jupyter.kernel.waiting_cells import WaitingCell, WaitingCells

PLACES_KEPT = 1_000
"""Places of breakpoints that were said not to be entered; each is said once."""

_OURS = ("", "pdb.set_trace", "IPython.core.debugger.set_trace", "ipdb.set_trace", "ipdb.sset_trace")
"""Values of PYTHONBREAKPOINT that mean the debugger of the cell."""


class Breakpoints:
    """The breakpoints of one notebook's handlers.

    Args:
        engine: whose handlers stop.
        waiting: tells which cell waits for a handler.
        stops: notes that the loop is stopped.
        kernel: that the cells run in; None in a terminal.
    """

    def __init__(self, engine: Engine, waiting: WaitingCells, stops: Stops, kernel: Any) -> None:
        self._engine = engine
        self._waiting = waiting
        self._stops = stops
        self._kernel = kernel
        self._stream: Any = sys.stdout
        self._debuggers: dict[Invocation, CellPdb] = {}
        self._said: set[tuple[str, int]] = set()
        self._stop_listening: Callable[[], None] | None = None

    def install(self) -> Callable[[], None]:
        """Take breakpoints of handlers from now on; returns what ends it."""
        self._stream = dict(own_streams(self._kernel))["stdout"]
        undo = ExitStack()
        undo.callback(self._let_go)
        self._waiting.on_steps = lambda: self._engine.services.around.add(self._wrap)
        undo.callback(replace(sys, "breakpointhook", self._hook))
        undo.callback(replace(bdb.Bdb, "set_trace", self._set_trace))
        return undo.close

    def _let_go(self) -> None:
        for debugger in [*self._debuggers.values()]:
            debugger.finish()
        self._debuggers.clear()
        self._listen()

    # -- where breakpoints come in ---------------------------------------------------------------------

    def _hook(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the `sys.breakpointhook` of handlers, which heeds PYTHONBREAKPOINT as PEP 553 says."""

        def breakpointhook(*args: Any, **fields: Any) -> Any:
            invocation = current_invocation.get()
            if invocation is None and not in_debugger.get():
                return original(*args, **fields)
            wanted = "" if sys.flags.ignore_environment else os.environ.get("PYTHONBREAKPOINT", "")
            if wanted == "0":
                return None
            if _front_end_debugs():
                return original(*args, **fields)
            if wanted not in _OURS or args or fields.keys() - {"header", "commands"}:
                # The hook of debugpy, which a kernel has imported, heeds no variable.
                is_debugpys = str(getattr(original, "__module__", "")).startswith("debugpy")
                return (sys.__breakpointhook__ if is_debugpys else original)(*args, **fields)
            return self._stop(sys._getframe(1), fields.get("header"))

        return breakpointhook

    def _set_trace(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the `Bdb.set_trace` of all: a debugger that would prompt here is replaced by the cell's."""

        def set_trace(debugger: Any, frame: FrameType | None = None, *args: Any, **fields: Any) -> Any:
            frame = frame or sys._getframe(1)
            is_theirs = current_invocation.get() is not None or in_debugger.get()
            if not is_theirs or not isinstance(debugger, STDLIB_PDB) or not _prompts_here(debugger):
                return original(debugger, frame, *args, **fields)
            return self._stop(frame)

        return set_trace

    def _stop(self, frame: FrameType, header: object = None) -> None:
        """Stop in the cell that waits for the handler that runs here; where none does, say so in its log."""
        invocation = current_invocation.get()
        if in_debugger.get() or invocation is None:
            print("a breakpoint is not entered from within the debugger")  # noqa: T201  its answer
            return
        debugger = self._debugger_of(invocation, frame)
        if debugger is None:
            return
        if header is not None:
            debugger.message(header)
        debugger.begin(frame)

    def _debugger_of(self, invocation: Invocation, frame: FrameType | None) -> CellPdb | None:
        if threading.get_ident() != self._engine.thread_id:
            self._say_why_not(invocation, frame, "it is in a thread, and only the loop's own can be stopped")
            return None
        cell = self._waiting.of(invocation)
        if cell is None or invocation.outcome != "running":
            self._say_why_not(invocation, frame, "no cell waits for this")
            return None
        if cell.request is not None and not cell.request.has_input:
            self._say_why_not(invocation, frame, f"the front end of {cell.label} gives no standard input")
            return None
        if not self._waiting.is_open(cell):
            self._say_why_not(invocation, frame, "the cell that waited for this has ended")
            return None
        debugger = self._debuggers.get(invocation)
        if debugger is None or debugger.io.cell is not cell:
            debugger = self._make(invocation, cell)
        return debugger

    def _make(self, invocation: Invocation, cell: WaitingCell) -> CellPdb:
        io = CellInput(cell, self._kernel, self._stream)
        made = io.run(lambda: CellPdb(io, invocation, Hooks(self._stopped, self._went_on, self._end)))
        self._debuggers[invocation] = made
        self._listen()
        return made

    # -- its life --------------------------------------------------------------------------------------

    def _stopped(self, debugger: CellPdb) -> AbstractContextManager[None]:
        return self._stops.stopped(debugger.io.cell.label, debugger.invocation)

    def _went_on(self, debugger: CellPdb) -> None:
        self._stops.tell_end(debugger.invocation)

    def _end(self, debugger: CellPdb) -> None:
        """The user quits: end the handler, and the task that it has started, if the stop was in that."""
        invocation = debugger.invocation
        self._engine.log_line(
            invocation.worker,
            f"{invocation.handler} was ended in the debugger, in {debugger.io.cell.label}",
            source="runtime",
            level="warning",
            invocation=invocation,
        )
        self._end_handler_above(invocation)

    def _end_handler_above(self, invocation: Invocation) -> None:
        """Cancel the handler where it was stopped in a task of its own making, which ends by itself."""
        if running_invocation(sys._getframe()) is invocation:
            return  # it is on the stack, and gets the exception
        for worker in self._engine.workers():
            if isinstance(worker, InProcessWorker) and worker.qualified_name == invocation.worker:
                worker.end_invocation(invocation)

    def _listen(self) -> None:
        """Hear of the ends of invocations only while some of them are in a debugger."""
        if self._debuggers and self._stop_listening is None:
            self._stop_listening = self._engine.history.listen(self._note_end)
        elif not self._debuggers and self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None

    def _note_end(self, invocation: Invocation) -> None:
        if invocation.outcome == "running" or (debugger := self._debuggers.pop(invocation, None)) is None:
            return
        if debugger.awaited is not None:
            debugger.message(
                f"{invocation.label} was not stopped at: it was not called where a cell can stop it"
            )
        debugger.finish()
        self._stops.tell_end(invocation, has_ended=True)
        self._listen()

    # -- the first line --------------------------------------------------------------------------------

    def _wrap(self, invocation: Invocation, handler: Handler) -> Handler:
        """Let a handler stop at its first line where its cell wants that."""
        cell = self._waiting.of(invocation)
        if cell is None or not cell.steps:
            return handler
        code = code_of(self._function_of(invocation) or handler)
        debugger = self._debugger_of(invocation, None)
        if debugger is None or code is None:
            return handler

        async def stepped(*args: Any) -> Any:
            debugger.await_call(code)
            return await handler(*args)

        return stepped

    def _function_of(self, invocation: Invocation) -> Any:
        """Return the function that was registered; None where it is not there any more."""
        for worker in self._engine.workers():
            if isinstance(worker, InProcessWorker) and worker.qualified_name == invocation.worker:
                registry = worker.worker
                found = () if registry is None else handlers_of(registry)
                return next((one.function for one in found if one.key == invocation.key), None)
        return None

    # -- where it does not stop ------------------------------------------------------------------------

    def _say_why_not(self, invocation: Invocation, frame: FrameType | None, why: str) -> None:
        """Say in the worker's log that a breakpoint is not entered, once a place."""
        if frame is None:
            key, text = (invocation.label, 0), f"{invocation.handler} is not stopped at: {why}"
        else:
            key = frame.f_code.co_filename, frame.f_lineno
            text = f"{location_of(*key)}: the breakpoint is not entered: {why}; {_way_in(invocation)}"
        if key in self._said or len(self._said) >= PLACES_KEPT:
            return
        self._said.add(key)
        self._engine.log_line(
            invocation.worker,
            text,
            source="runtime",
            level="warning",
            invocation=invocation,
        )


def _way_in(invocation: Invocation) -> str:
    """Return what to type to stop there."""
    if invocation.event is not None:
        return f"stop there with %replay #{invocation.event.seq} --debug"
    if invocation.cause == "schedule":
        return "stop there with %clock virtual, and then %clock next"
    if invocation.cause == "task":
        return "no cell ever waits for a task; call its code in a cell to stop there"
    return f"stop there with %worker restart {invocation.worker.rpartition(':')[2]}"


def _prompts_here(debugger: Any) -> bool:
    """Return whether a debugger talks by the streams of the process, and not by a socket of its own."""
    stream = getattr(debugger, "stdout", None)
    return stream is None or stream in (sys.stdout, sys.__stdout__) or hasattr(stream, "_dnworker_routed")


def _front_end_debugs() -> bool:
    """Return whether a debugger of the front end is attached: its own hook knows best where to stop."""
    debugpy = sys.modules.get("debugpy")
    return debugpy is not None and bool(debugpy.is_client_connected())
