"""`Notebook`: what the extension holds for one kernel, from `%load_ext` to `%unload_ext`."""

from __future__ import annotations

import asyncio
import atexit
import dataclasses
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from dnworker.capability.manifest import CapabilityManifest
from dnworker.core.clock import SwitchClock
from dnworker.core.errors import JournalError, UsageError
from dnworker.core.invocation import current_invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.locations import add_locator, remove_locator
from dnworker.engine.watchdog import Block, Watchdog
from dnworker.runtime import LIVE_CAPABILITY, Runtime
from dnworker.workers import standalone
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.interrupts import Interrupts
from dnworker_jupyter.kernel.loop import Host
from dnworker_jupyter.kernel.notebook_file import journal_file
from dnworker_jupyter.kernel.output import OutputRouter
from dnworker_jupyter.kernel.unhandled import UnhandledErrors
from dnworker_jupyter.live.processes import Bridges
from dnworker_jupyter.live.transactions import Transactions
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.magics.actions import NotebookActions
from dnworker_jupyter.syntax import transform

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.workers.managed import ManagedWorker
    from dnworker_jupyter.display.panel import Panel

T = TypeVar("T")

log = logging.getLogger("dnworker.notebook")

_active: Notebook | None = None
_leaving: Notebook | None = None
"""Unloaded, but not stopped yet: `%reload_ext` unloads and loads in one breath, and keeps what runs."""


def active() -> Notebook:
    """Return the loaded notebook.

    Raises:
        UsageError: the extension is not loaded.
    """
    if _active is None:
        raise UsageError("dnworker is not loaded; run: %load_ext dnworker")
    return _active


def start(shell: Any) -> Notebook:
    """Load the extension into `shell`, once."""
    global _active, _leaving
    if _active is None:
        _active, _leaving = _leaving or Notebook(shell), None
        _active.install()
    return _active


def end() -> None:
    """Unload it."""
    global _active, _leaving
    if _active is None:
        return
    leaving = _leaving = _active
    _active = None
    leaving.uninstall()
    if leaving.host.loop is None:
        _leaving = None
    elif leaving.host.has_thread:
        threading.Timer(0.5, _stop_leaving, (leaving,)).start()  # `%reload_ext` loads again before that
    else:
        leaving.host.post(_stop_leaving, leaving)


def _stop_leaving(notebook: Notebook) -> None:
    global _leaving
    if _leaving is notebook:
        _leaving = None
        notebook.stop()


class Notebook:
    """The runtime of one kernel, its live workers, and every hook in IPython."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.host = Host(shell)
        self.cells = CellBook(shell)
        self.runtime = Runtime(port=0, clock=SwitchClock(), journal=journal_file(shell))
        self.runtime.actions = NotebookActions(self)
        self.live: dict[str, LiveWorker] = {}
        self.head: str | None = None
        self.head_cell: str | None = None
        self.capability_name: str | None = None
        self.bridges = Bridges(self)
        self.transactions = Transactions(self)
        self.watchdog: Watchdog | None = None
        self.panels: dict[str | None, Panel] = {}
        """The panel of all workers, by None, and those of one, by its qualified name."""
        self.fired_earlier: dict[str, EventEnvelope | None] = {}
        self._router = OutputRouter(self.runtime, shell)
        self._interrupts = Interrupts(shell, self.host, lambda: self.watchdog)
        self._unhandled = UnhandledErrors(self)
        self._ready: asyncio.Task[None] | None = None
        self._magics: Any = None
        self._stopping: asyncio.Task[None] | None = None
        self._commit = transform.CommitTransformer()
        self._open_cell = self._cell_opener()
        self._later: list[BaseException] = []
        self._to_start: list[str] = []
        self.journal_problem: str | None = None
        self.is_nested = False
        self._is_installed = False

    # -- hooks -----------------------------------------------------------------------------------------

    def install(self) -> None:
        """Put every hook in and start the runtime."""
        from dnworker_jupyter.display.traces import register_formatters
        from dnworker_jupyter.magics.completion import install_completion
        from dnworker_jupyter.magics.magics import DnworkerMagics

        shell = self.shell
        self._is_installed = True
        add_locator(self.cells.locate)
        self._router.install()
        shell.input_transformer_manager.cleanup_transforms.insert(0, self._open_cell)
        shell.input_transformers_post += [self._await_magics, self._end_plain_cell]
        shell.ast_transformers.append(self._commit)
        shell.events.register("pre_run_cell", self._pre_run_cell)
        shell.events.register("post_run_cell", self._post_run_cell)
        self._magics = DnworkerMagics(shell, self)
        shell.register_magics(self._magics)
        self._uncomplete = install_completion(shell, self)
        register_formatters(shell)
        import dnworker_jupyter

        shell.user_ns["dn"] = dnworker_jupyter
        shell.user_ns_hidden.update({"dn": dnworker_jupyter, transform.LAST_VALUE: None})
        standalone.attach = self.transactions.attach
        atexit.register(self._at_exit)
        self._begin()
        if self.host.has_thread:
            print(  # noqa: T201  the answer to %load_ext
                "dnworker: this terminal's loop does not turn at the prompt, so the runtime lives on a "
                "thread of its own; handlers run there"
            )

    def uninstall(self) -> None:
        """Take every hook out; the runtime runs on until `stop`."""
        shell = self.shell
        self._is_installed = False
        for hooks, hook in (
            (shell.input_transformer_manager.cleanup_transforms, self._open_cell),
            (shell.input_transformers_post, self._await_magics),
            (shell.input_transformers_post, self._end_plain_cell),
            (shell.ast_transformers, self._commit),
        ):
            if hook in hooks:
                hooks.remove(hook)
        shell.events.unregister("pre_run_cell", self._pre_run_cell)
        shell.events.unregister("post_run_cell", self._post_run_cell)
        for kind, magics in self._magics.magics.items():
            for name in magics:
                shell.magics_manager.magics[kind].pop(name, None)
        self._uncomplete()
        for registered in (shell.configurables, list(shell.magics_manager.registry)):
            if self._magics in registered:
                registered.remove(self._magics)
        shell.magics_manager.registry.pop(type(self._magics).__name__, None)
        import dnworker_jupyter

        if shell.user_ns.get("dn") is dnworker_jupyter:
            del shell.user_ns["dn"]
        shell.user_ns.pop(transform.LAST_VALUE, None)
        for name in ("dn", transform.LAST_VALUE):
            shell.user_ns_hidden.pop(name, None)
        remove_locator(self.cells.locate)
        standalone.attach = None
        self._unhandled.uninstall()
        self._interrupts.uninstall()
        self._router.uninstall()
        atexit.unregister(self._at_exit)

    def stop(self) -> None:
        """Close the panel and stop the runtime in full."""
        self.transactions.forget_names()  # not before: workers that a reload keeps mean them
        if self.watchdog is not None:
            self.watchdog.stop()
            self.watchdog = None
        for panel in self.panels.values():
            panel.close()
        self.panels.clear()
        if self.host.has_thread:
            self.host.finish(self._stop())
        else:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="dnworker stop")

    async def _stop(self) -> None:
        if self._ready is not None:
            await asyncio.wait({self._ready})  # unloaded before it had started: what starts must be stopped
        self._ready = None
        await self.runtime.stop()
        self.bridges.close()

    # -- the runtime -----------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Wait until the runtime has started, and what earlier cells left to do is done.

        Raises:
            OSError: it could not start.
        """
        self._begin()
        await self.enter(self._until_ready)

    async def enter(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the runtime's loop, from any loop."""
        return await self.host.enter(make)

    async def _until_ready(self) -> None:
        if self._ready is None:
            loop = asyncio.get_running_loop()
            self._ready = loop.create_task(self._start(), name="dnworker start")
        await asyncio.shield(self._ready)
        if self._is_installed:
            self._unhandled.install(asyncio.get_running_loop())  # again, after %reload_ext
        if current_invocation.get() is None:  # a handler that a commit waits for must not wait for it
            await self.transactions.finished()

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if self.watchdog is None:
            self.watchdog = Watchdog(loop, on_blocked=self._blocked, on_released=self._released)
            self.watchdog.start()
        try:
            await self.runtime.start()
        except JournalError as exc:
            log.warning("%s; this run is not recorded", exc)
            self.journal_problem = str(exc)
            self.runtime.journal = None
            await self.runtime.start()
        wanted, self._to_start = self._to_start, []
        for name in wanted:
            await self.runtime.worker(name).restart()

    def _begin(self) -> None:
        if not self.host.start():
            return  # a kernel that does not run yet: the first cell begins it
        if self._ready is None:
            self.host.post(lambda: self._keep(asyncio.ensure_future(self._until_ready())))

    def _keep(self, task: asyncio.Task[None]) -> None:
        # Its result is looked at by `ready`, which waits for the same start.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _at_exit(self) -> None:
        """End worker processes with the kernel; the guard would, 5 s later and less politely."""
        if self.host.has_thread:
            self.stop()
        self.runtime.guard.close()
        self.bridges.close()

    # -- around every cell -----------------------------------------------------------------------------

    def _cell_opener(self) -> Callable[[list[str]], list[str]]:
        def open_cell(lines: list[str]) -> list[str]:
            # What is transformed while a cell runs is a body within it, and no cell of its own.
            return lines if self.cells.now is not None else transform.worker_cell(lines)

        # IPython asks whether a cell is complete by transforming it: as a magic, that is how ours are judged.
        open_cell.has_side_effects = True  # type: ignore[attr-defined]
        return open_cell

    def _await_magics(self, lines: list[str]) -> list[str]:
        return transform.await_magics(lines, nested=self.cells.now is not None)

    def _end_plain_cell(self, lines: list[str]) -> list[str]:
        if self.cells.now is not None or not self.shell.autoawait:
            return lines  # it is committed after it has run
        return transform.end_plain_cell(lines, self.transactions.is_handle)

    def _pre_run_cell(self, info: Any) -> None:
        self._begin()
        running = self.cells.begin(info)
        if running is not None:
            self.transactions.begin_cell(running)
            self._interrupts.begin_cell()

    def _post_run_cell(self, result: Any) -> None:
        if not (getattr(result.info, "raw_cell", None) or "").strip():
            return  # IPython tells of the end of empty code, and not of its beginning
        succeeded = bool(result.success)
        running = self.cells.end(succeeded)
        if running is not None:
            self.transactions.leave_cell(running, succeeded)
            self._interrupts.end_cell()

    def failed_later(self, exc: BaseException) -> None:
        """Tell of an error that came to light after its cell; `settle` raises it."""
        self._later.append(exc)
        print(f"{type(exc).__name__}: {exc}")  # noqa: T201  the cell has ended; this is where it is seen

    def raise_later(self) -> None:
        """Raise the first of those errors, once."""
        later, self._later = self._later, []
        if later:
            raise later[0]

    # -- a loop that stands still ----------------------------------------------------------------------

    def _blocked(self, block: Block) -> None:
        """Tell, on the watchdog's thread, who holds the loop."""
        if block.invocation is not None:
            self.runtime.log_line(
                block.invocation.worker,
                f"{block.invocation.handler} holds the loop, and every worker waits: {block.place}: "
                f"{block.source}; use await asyncio.sleep(...), or asyncio.to_thread(...) for what blocks",
                source="runtime",
                level="warning",
                invocation=block.invocation,
            )
        for panel in (*self.panels.values(),):
            panel.tell_paused(block)

    def _released(self, block: Block) -> None:
        """Note, on the loop, how long it stood still."""
        for worker in self.runtime.workers():
            if worker.topology == "in-process" and worker.state is WorkerState.RUNNING:
                text = f"paused {block.seconds:.1f} s by {block.who}"
                self.runtime.log_line(worker.qualified_name, text, source="runtime", level="warning")
        for panel in self.panels.values():
            panel.tell_paused(None)

    # -- the rest --------------------------------------------------------------------------------------

    @property
    def was_interrupted(self) -> bool:
        """Whether somebody asked to stop the cell that runs."""
        return self._interrupts.came

    def declare(self, head: str, manifest: CapabilityManifest, label: str) -> None:
        """Take the head of the manifest from a `%%capability` cell."""
        self.head, self.head_cell, self.capability_name = head, label, manifest.name
        # Live workers stay in the capability "notebook", whatever the export is called.
        self.runtime.capability(LIVE_CAPABILITY).declare(dataclasses.replace(manifest, name=LIVE_CAPABILITY))

    def panel(self, only: str | None = None) -> Panel:
        """Return the one panel of this runtime, or that of one worker, by its qualified name."""
        from dnworker_jupyter.display.panel import Panel

        panel = self.panels.get(only)
        if panel is None or panel.is_closed:
            panel = self.panels[only] = Panel(self, only)
        return panel

    def forget(self, managed: ManagedWorker) -> None:
        """Forget what cells know of a worker that was removed."""
        live = self.live.get(managed.name)
        if live is not None and live.managed is managed:
            del self.live[managed.name]
        if managed.capability == LIVE_CAPABILITY:
            self.transactions.programs.pop(managed.name, None)

    def stopped(self, running: Iterable[str]) -> None:
        """Note that the runtime was stopped, and of which workers: what needs it starts both again."""
        self._ready = None
        self._to_start = list(running)
