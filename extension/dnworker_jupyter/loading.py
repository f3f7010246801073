"""`%load_ext dnworker` and its reverse: builds the `Notebook` object, installs its hooks, removes them."""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dnworker_jupyter
from dnworker._version import __version__
from dnworker.core.clock import SwitchClock
from dnworker.core.detail import add_detail
from dnworker.core.lifecycle import SHUTDOWN_ERRORS
from dnworker.core.locations import add_locator, remove_locator
from dnworker.core.source import add_reader
from dnworker.engine.left_behind import left_behind
from dnworker.engine.state_watch import StateWatch
from dnworker.mcp_server.process import McpProcess
from dnworker.runtime import Runtime
from dnworker.workers import standalone
from dnworker_jupyter.display.attached import mark_of_trace
from dnworker_jupyter.display.panels import Panels
from dnworker_jupyter.display.states import register_state_formatter
from dnworker_jupyter.display.traces import register_formatters
from dnworker_jupyter.display.widget_hub import activate
from dnworker_jupyter.kernel.cell_hints import CellHints
from dnworker_jupyter.kernel.cell_turns import CellTurns
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.debugging import Debugging
from dnworker_jupyter.kernel.exception_mode import chosen_detail
from dnworker_jupyter.kernel.first_cells import FirstCells
from dnworker_jupyter.kernel.interrupts import Interrupts
from dnworker_jupyter.kernel.journals import Journals, journal_file, locate_journal
from dnworker_jupyter.kernel.kernel_end import KernelEnd, say
from dnworker_jupyter.kernel.lab_debugger import install_lab_debugger
from dnworker_jupyter.kernel.late_errors import LateErrors
from dnworker_jupyter.kernel.listed import ListedRuntime
from dnworker_jupyter.kernel.location import NotebookLocation
from dnworker_jupyter.kernel.long_blocks import LongBlocks
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.loop_watch import LoopWatch
from dnworker_jupyter.kernel.output import OutputRouter
from dnworker_jupyter.kernel.pending import PendingMagics
from dnworker_jupyter.kernel.shell_channel import answer_through_stream
from dnworker_jupyter.kernel.startup import RuntimeStartup
from dnworker_jupyter.kernel.unhandled import UnhandledErrors
from dnworker_jupyter.live.agent_access import AgentAccess
from dnworker_jupyter.live.capability_head import CapabilityHead
from dnworker_jupyter.live.cell_hooks import CellHooks
from dnworker_jupyter.live.processes import Processes, ProcessTopology
from dnworker_jupyter.live.stale import StaleHandlers
from dnworker_jupyter.live.transactions import Transactions
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.magics.actions import NotebookActions
from dnworker_jupyter.magics.completion_hook import install_completion
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.debug import install_debug
from dnworker_jupyter.magics.head import heed_gone_head
from dnworker_jupyter.magics.lazy_door import LazyDoor
from dnworker_jupyter.magics.magics import install_magics
from dnworker_jupyter.magics.state import find_state
from dnworker_jupyter.magics.storms import WAY_OUT
from dnworker_jupyter.magics.suggestions import NotebookSuggestions
from dnworker_jupyter.notebook import Notebook, set_active
from dnworker_jupyter.syntax.transform import LAST_VALUE

log = logging.getLogger("dnworker.notebook")

RELOAD_SECONDS = 0.5
"""Within these, `%reload_ext` in a terminal has loaded again what it has unloaded."""

JOURNAL_SECONDS = 1.0
"""A kernel that ends waits so long for its journal."""

_leaving: Notebook | None = None
"""Unloaded, but not stopped yet: `%reload_ext` unloads and loads in one breath, and keeps what runs."""


def load(shell: Any) -> None:
    """Start the runtime on the running loop and register everything; a second call changes nothing."""
    global _leaving
    before = set_active(None)
    kept = before or _leaving
    notebook = kept or compose(shell)
    _leaving = None
    set_active(notebook)
    if before is None:
        install(notebook)
    if kept is None:
        print(_answer(notebook))  # noqa: T201  what `%load_ext` started; a reload starts nothing


def unload(shell: Any) -> None:
    """Stop the runtime and take every hook out again; harmless when it is not loaded."""
    global _leaving
    notebook = set_active(None)
    if notebook is None:
        return
    notebook.installed.close()
    if notebook.loop.loop is None:
        return  # it has never begun
    _leaving = notebook
    if notebook.loop.has_thread:
        threading.Timer(RELOAD_SECONDS, _stop_leaving, (notebook,)).start()
    else:
        notebook.loop.post(_stop_leaving, notebook)


def compose(shell: Any) -> Notebook:
    """Make the parts of a notebook, each from those above it."""
    location = NotebookLocation(shell)
    runtime = _runtime(location)
    loop = KernelLoop(shell)
    cells = CellBook(shell)
    watch = LoopWatch(runtime)
    interrupts = Interrupts(shell, loop, watch)
    startup = RuntimeStartup(runtime, loop, watch, _journal_of(location, cells))
    late_errors = LateErrors()
    pending = PendingMagics(cells, interrupts, late_errors)
    live = LiveWorkers()
    processes = Processes(runtime, functools.partial(_export_worker, cells, live))
    transactions = Transactions(
        shell,
        engine=runtime,
        loop=loop,
        startup=startup,
        cells=cells,
        live=live,
        processes=processes,
        late_errors=late_errors,
    )
    watch.paused.add((panels := Panels(runtime, loop, cells)).report_paused)
    notebook = Notebook(
        shell=shell,
        runtime=runtime,
        loop=loop,
        startup=startup,
        watch=watch,
        cells=cells,
        location=location,
        output=OutputRouter(runtime, shell),
        unhandled=UnhandledErrors(runtime.note_unhandled),
        interrupts=interrupts,
        late_errors=late_errors,
        pending=pending,
        debugging=Debugging(runtime, shell, loop=loop, cells=cells, watch=watch, interrupts=interrupts),
        live=live,
        stale=_stale_handlers(location, live, cells),
        processes=processes,
        transactions=transactions,
        panels=panels,
    )
    return _with_magics(notebook)


def _runtime(location: NotebookLocation) -> Runtime:
    """Make the runtime, which tells more of errors than `serve` does: its user looks for what is wrong."""
    runtime = Runtime(port=0, clock=SwitchClock(), journal=journal_file(location), process_locals=True)
    runtime.storms.mode, runtime.storms.way_out = "hold", WAY_OUT
    return runtime


def _journal_of(location: NotebookLocation, cells: CellBook) -> Callable[[], Awaitable[Path | None]]:
    """Return what finds the journal of a notebook at the start; it goes with the notebook from then on."""
    journals = Journals()
    location.looked.add(lambda path: journals.note(path, [*cells.ids.copy().values()]))
    return lambda: locate_journal(location, journals)


def _stale_handlers(location: NotebookLocation, live: LiveWorkers, cells: CellBook) -> StaleHandlers:
    """Return what finds stale handlers; the saved notebook is read on the thread that looks where it is."""
    stale = StaleHandlers(live, cells)
    location.looked.add(stale.note_saved)
    return stale


def _with_magics(notebook: Notebook) -> Notebook:
    """Give a notebook what users see on top of its parts: the magics, the panel's actions, the hooks."""
    runtime = notebook.runtime
    notebook.states = StateWatch(runtime)
    notebook.magics = MagicContext(
        shell=notebook.shell,
        runtime=runtime,
        loop=notebook.loop,
        startup=notebook.startup,
        watch=notebook.watch,
        interrupts=notebook.interrupts,
        cells=notebook.cells,
        turns=CellTurns(notebook.shell, notebook.cells),
        pending=notebook.pending,
        debugging=notebook.debugging,
        location=notebook.location,
        live=notebook.live,
        stale=notebook.stale,
        processes=notebook.processes,
        transactions=notebook.transactions,
        head=CapabilityHead(runtime, notebook.cells),
        agents=AgentAccess(notebook.stale),
        mcp=McpProcess(runtime, lambda: str(runtime.url)),
        panels=notebook.panels,
        suggestions=NotebookSuggestions(runtime, notebook.live),
        states=notebook.states,
    )
    runtime.actions = NotebookActions(notebook.magics)
    runtime.door = LazyDoor(notebook.magics).open
    notebook.panels.widgets.suggest = runtime.actions.suggest
    notebook.panels.widgets.fire = dnworker_jupyter.fire
    notebook.hooks = CellHooks(
        notebook.shell,
        startup=notebook.startup,
        cells=notebook.cells,
        transactions=notebook.transactions,
        interrupts=notebook.interrupts,
    )
    return notebook


def _export_worker(
    cells: CellBook, live: LiveWorkers, name: str, topology: ProcessTopology
) -> tuple[Mapping[str, bytes], str]:
    from dnworker_jupyter.magics.live_export import export_worker  # only where a worker becomes a process

    return export_worker(cells, live, name, topology)


def install(notebook: Notebook) -> None:
    """Put every hook in, and begin to start the runtime; `notebook.installed` takes the hooks out again."""
    shell, undo = notebook.shell, notebook.installed.callback
    add_locator(notebook.cells.locate)
    undo(remove_locator, notebook.cells.locate)
    undo(add_reader(notebook.cells.text_of))
    undo(add_detail(functools.partial(chosen_detail, shell)))
    notebook.output.install()
    undo(notebook.output.uninstall)
    undo(notebook.interrupts.uninstall)  # every cell installs it
    undo(notebook.unhandled.uninstall)
    undo(notebook.startup.on_loop.add(notebook.unhandled.install))
    undo(_listed(notebook))
    undo(answer_through_stream(shell))
    notebook.hooks.install()
    undo(notebook.hooks.uninstall)
    undo(_when_cells_run(notebook))
    undo(LongBlocks(shell, notebook.runtime, notebook.cells).install(notebook.watch))
    undo(CellHints(shell, notebook.cells).install())
    undo(notebook.debugging.install())
    undo(notebook.magics.turns.install())
    undo(install_debug(shell, notebook.debugging.post_mortem))
    undo(_heed_gone_heads(notebook))
    undo(install_lab_debugger(shell, notebook.runtime.history.failures.noted))
    shell.events.register("pre_run_cell", notebook.location.look)
    undo(shell.events.unregister, "pre_run_cell", notebook.location.look)
    undo(install_magics(shell, notebook.magics))
    undo(install_completion(shell, notebook.magics))
    actions = notebook.runtime.actions
    cell_now = None if actions is None else actions.cell_now
    line = functools.partial(mark_of_trace, notebook.runtime)
    undo(register_formatters(shell, notebook.stale, notebook.pending.shown, cell_now, line))
    undo(register_state_formatter(shell, functools.partial(find_state, notebook.magics)))
    notebook.states.start()
    undo(notebook.states.pause)
    undo(activate(notebook.panels.widgets))
    undo(_bind_names(shell))
    standalone.attach = notebook.transactions.attach
    undo(_detach)
    undo(_heed_end(notebook))
    notebook.startup.begin()


def _answer(notebook: Notebook) -> str:
    """Return the line that says what runs now, where, and what to type next."""
    where = "a runtime runs in this kernel"
    if notebook.loop.has_thread:
        where = (
            "a runtime lives on a thread of its own, and handlers run there: this terminal's loop "
            "does not turn at the prompt"
        )
    return f"dnworker {__version__}: {where}; next, type %%worker NAME above handlers, or %panel to look"


def _heed_end(notebook: Notebook) -> Callable[[], None]:
    """Stop the runtime when the kernel or the terminal ends; returns what undoes that."""
    leave_kernel = _kernel_end(notebook).install()
    at_exit = functools.partial(_at_exit, notebook)
    atexit.register(at_exit)

    def undo() -> None:
        atexit.unregister(at_exit)
        leave_kernel()

    return undo


def _listed(notebook: Notebook) -> Callable[[], None]:
    """Have the commands of this machine find the runtime of a kernel; returns what takes it back."""
    if getattr(notebook.shell, "kernel", None) is None:
        return lambda: None
    runtime = notebook.runtime
    listed, taken = ListedRuntime(runtime, lambda: runtime.url, lambda: notebook.location.path), ExitStack()
    taken.callback(listed.remove)
    taken.callback(notebook.startup.on_loop.add(listed.note))
    taken.callback(notebook.location.looked.add(listed.note))
    taken.callback(notebook.startup.on_stopped.add(listed.remove))
    return taken.close


def _when_cells_run(notebook: Notebook) -> Callable[[], None]:
    """Let cells begin when the runtime runs, and end when their magics have; returns what undoes it."""
    installed = ExitStack()
    installed.callback(notebook.pending.install(notebook.shell))
    installed.callback(FirstCells(notebook.startup, notebook.loop).install(notebook.shell))
    return installed.close


def _heed_gone_heads(notebook: Notebook) -> Callable[[], None]:
    """Look after every cell whether the head of the capability is gone; returns what ends it."""

    def after_cell(result: Any) -> None:
        heed_gone_head(notebook.magics, notebook.late_errors)

    events = notebook.shell.events
    events.register("post_run_cell", after_cell)
    return lambda: events.unregister("post_run_cell", after_cell)


def _bind_names(shell: Any) -> Callable[[], None]:
    """Bind `dn` in the notebook; returns what takes it and our hidden names away, but not a user's `dn`."""
    names, hidden = shell.user_ns, shell.user_ns_hidden
    names["dn"] = dnworker_jupyter
    hidden.update({"dn": dnworker_jupyter, LAST_VALUE: None})

    def unbind() -> None:
        if names.get("dn") is dnworker_jupyter:
            del names["dn"]
        names.pop(LAST_VALUE, None)
        for name in ("dn", LAST_VALUE):
            hidden.pop(name, None)

    return unbind


def _detach() -> None:
    standalone.attach = None


def _stop_leaving(notebook: Notebook) -> None:
    global _leaving
    if _leaving is notebook:
        _leaving = None
        stop(notebook)


def stop(notebook: Notebook) -> None:
    """Close the panels and stop the runtime in full; in a kernel, on its loop."""
    _close_parts(notebook)
    if notebook.loop.has_thread:
        notebook.loop.finish(_stop_runtime(notebook))
    else:
        notebook.stopping = asyncio.get_running_loop().create_task(
            _stop_runtime(notebook), name="dnworker stop"
        )


def _close_parts(notebook: Notebook) -> None:
    """Close what shows the runtime; a part that raises is logged, and the stop of the runtime goes on."""
    parts = (notebook.magics.mcp, notebook.panels)
    for close in (notebook.watch.stop, notebook.states.stop, *(part.close for part in parts)):
        try:
            close()
        except Exception:
            log.exception("a part of the notebook did not close; the runtime stops all the same")


def _kernel_end(notebook: Notebook) -> KernelEnd:
    """Return what stops the runtime when the kernel ends."""

    async def end(within: float) -> None:
        _close_parts(notebook)
        try:
            await notebook.startup.end(within)
        finally:
            notebook.processes.close()
        for worker in notebook.runtime.workers():
            if worker.error is not None and worker.error.startswith(SHUTDOWN_ERRORS):
                say(f"{worker.name}: {worker.error}")  # nobody can look any more

    return KernelEnd(
        notebook.shell,
        notebook.loop,
        end,
        left=lambda: left_behind(notebook.runtime, notebook.loop.loop),
        last=functools.partial(_at_exit, notebook),
    )


async def _stop_runtime(notebook: Notebook) -> None:
    try:
        await notebook.startup.stop()
    finally:
        notebook.processes.close()
        notebook.transactions.forget_names()  # not before: shutdown handlers mean them


def _at_exit(notebook: Notebook) -> None:
    """End worker processes with the kernel; the guard would, 5 s later and less politely.

    A kernel's loop has ended by now. `KernelEnd` has stopped the runtime on it before, unless the time was
    too short, or the process ends in another way, as by `sys.exit`: so its journal is written out here.
    """
    with ExitStack() as rest:
        rest.callback(notebook.processes.close)
        rest.callback(notebook.runtime.guard.close)
        if notebook.loop.has_thread:
            stop(notebook)
        elif (journal := notebook.runtime.journal) is not None and journal.failure is None:
            journal.flush(JOURNAL_SECONDS)
