"""`Notebook`: what the extension holds for one kernel, from `%load_ext` to `%unload_ext`."""

from __future__ import annotations

import asyncio
import atexit
import dataclasses
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from dnworker import standalone
from dnworker.capability.manifest import CapabilityManifest
from dnworker.client.client import RuntimeClient
from dnworker.clock import SwitchClock
from dnworker.errors import JournalError, Refused, WorkerFailed
from dnworker.events import EventEnvelope
from dnworker.lifecycle import WorkerState
from dnworker.places import add_locator, remove_locator
from dnworker.runtime import LIVE_CAPABILITY, Runtime
from dnworker.watchdog import Block, Watchdog
from dnworker.worker import Worker
from dnworker_jupyter import transform
from dnworker_jupyter.bridge import Bridges
from dnworker_jupyter.cells import CellBook
from dnworker_jupyter.handles import LiveHandle, adopt, make_handle
from dnworker_jupyter.host import Host
from dnworker_jupyter.interrupts import Interrupts
from dnworker_jupyter.journals import journal_file
from dnworker_jupyter.options import Options, read_worker_line
from dnworker_jupyter.registration import CellTransaction, Change, CurrentWorker, LiveWorker
from dnworker_jupyter.routing import OutputRouter
from dnworker_jupyter.strays import Strays

if TYPE_CHECKING:
    from dnworker_jupyter.agent_cells import AgentCell
    from dnworker_jupyter.panel_widget import Panel

T = TypeVar("T")

log = logging.getLogger("dnworker.notebook")

NAMES = ("worker", "EventEnvelope", "RuntimeClient")
"""What a `%%worker` cell finds bound."""

_active: Notebook | None = None
_leaving: Notebook | None = None
"""Unloaded, but not stopped yet: `%reload_ext` unloads and loads in one breath, and keeps what runs."""


def active() -> Notebook:
    """Return the loaded notebook.

    Raises:
        Refused: the extension is not loaded.
    """
    if _active is None:
        raise Refused("dnworker is not loaded; run: %load_ext dnworker")
    return _active


def start(shell: Any) -> Notebook:
    """Load the extension into `shell`, once."""
    global _active, _leaving
    if _active is None:
        _active, _leaving = _leaving or Notebook(shell), None
        _active.install()
    return _active


def end(shell: Any) -> None:
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
        self.live: dict[str, LiveWorker] = {}
        self.head: str | None = None
        self.head_cell: str | None = None
        self.bridges = Bridges(self)
        self.watchdog: Watchdog | None = None
        self.agent_cell: AgentCell | None = None
        self.handles: dict[str, LiveHandle] = {}
        self.panel_widget: Panel | None = None
        self.fired_earlier: dict[str, EventEnvelope | None] = {}
        self._router = OutputRouter(self.runtime, shell)
        self._interrupts = Interrupts(shell, self.host, lambda: self.watchdog)
        self._strays = Strays(self)
        self._transactions: dict[str, CellTransaction] = {}
        self._unfinished: set[asyncio.Task[None]] = set()
        self._latest: str | None = None
        self._ready: asyncio.Task[None] | None = None
        self._magics: Any = None
        self._stopping: asyncio.Task[None] | None = None
        self._commit = transform.CommitTransformer()

    # -- hooks -----------------------------------------------------------------------------------------

    def install(self) -> None:
        """Put every hook in and start the runtime."""
        from dnworker_jupyter.completion import install_completion
        from dnworker_jupyter.magics import DnworkerMagics
        from dnworker_jupyter.trace_view import register_formatters

        shell = self.shell
        add_locator(self.cells.locate)
        self._router.install()
        shell.input_transformer_manager.cleanup_transforms.insert(0, transform.worker_cell)
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
        standalone.attach = self._attach
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
        for hooks, hook in (
            (shell.input_transformer_manager.cleanup_transforms, transform.worker_cell),
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
        for name in ("dn", *NAMES, transform.LAST_VALUE):
            value = shell.user_ns.get(name)
            if (
                name in ("dn", transform.LAST_VALUE)
                or value is EventEnvelope
                or value is RuntimeClient
                or (type(value) is CurrentWorker)
            ):
                shell.user_ns.pop(name, None)
            shell.user_ns_hidden.pop(name, None)
        remove_locator(self.cells.locate)
        standalone.attach = None
        self._strays.uninstall()
        self._interrupts.uninstall()
        self._router.uninstall()
        atexit.unregister(self._at_exit)

    def stop(self) -> None:
        """Close the panel and stop the runtime in full."""
        if self.watchdog is not None:
            self.watchdog.stop()
            self.watchdog = None
        if self.panel_widget is not None:
            self.panel_widget.close()
            self.panel_widget = None
        if self.host.has_thread:
            self.host.finish(self._stop())
        else:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="dnworker stop")

    async def _stop(self) -> None:
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
        while self._unfinished:
            await asyncio.wait([*self._unfinished])

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._strays.install(loop)
        self.watchdog = Watchdog(loop, on_blocked=self._blocked, on_released=self._released)
        self.watchdog.start()
        try:
            await self.runtime.start()
        except JournalError as exc:
            log.warning("%s; this run is not recorded", exc)
            self.runtime.journal = None
            await self.runtime.start()

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

    # -- %%worker --------------------------------------------------------------------------------------

    async def open_worker(self, line: str) -> None:
        """Begin a `%%worker` cell.

        Raises:
            Refused: the line is wrong.
        """
        options = read_worker_line(line)
        await self.ready()
        if self.cells.running is None:
            raise Refused("%%worker must be the first line of a cell")
        self.check_gate(options.name, options.options.when)
        self.open_transaction(
            options.name,
            options.options,
            shared=options.shared,
            quiet=options.quiet,
            restart=options.restart,
        )
        self.shell.user_ns.update(
            worker=CurrentWorker(self._current_worker),
            EventEnvelope=EventEnvelope,
            RuntimeClient=RuntimeClient,
        )

    def open_transaction(self, name: str, options: Options | None = None, **how: bool) -> CellTransaction:
        """Return what the running cell registers for a worker, beginning it if need be.

        Raises:
            Refused: no cell is running: what is registered would belong to none.
        """
        cell = self.cells.running
        if cell is None:
            raise Refused(f"handlers of worker {name!r} can be registered only while a cell runs")
        if name not in self._transactions:
            live = self.live.get(name) or LiveWorker(name, self.bridges)
            self._transactions[name] = CellTransaction(live, cell, options or live.options, **how)
        self._latest = name
        return self._transactions[name]

    def handle(self, name: str, options: Options | None = None, **how: bool) -> LiveHandle:
        """Return the live worker `name`, for plain Python; the cell that runs becomes its transaction."""
        if name not in self.handles:
            self.handles[name] = make_handle(self, name)
        if self.cells.running is not None:
            if options is not None:
                self.check_gate(name, options.when)
            self.open_transaction(name, options, **how)
        return self.handles[name]

    async def close_cell(self) -> None:
        """Commit the cell that runs: what it registered becomes the next generation of each worker.

        Raises:
            WorkerFailed: a worker went to `error` with them.
        """
        await self.ready()
        if self.agent_cell is not None:
            agent, self.agent_cell = self.agent_cell, None
            print(await self.enter(agent.commit))  # noqa: T201  this is the cell's output
            return
        for value in [*self.shell.user_ns.values()]:
            if type(value) is Worker and value.name is not None and not self._is_running(value):
                adopt(self, value)
        transactions, self._transactions = self._transactions, {}
        cell = self.cells.running
        if cell is not None:
            await self.enter(lambda: self._drop_stale(cell.key, set(transactions)))
        for transaction in transactions.values():
            await self._commit_one(transaction)

    async def _commit_one(self, transaction: CellTransaction) -> None:
        live = transaction.live
        self.live[live.name] = live

        async def commit() -> Change:
            change = await live.commit(self.runtime, transaction.registration(), transaction.options)
            if (
                transaction.restart
                and live.managed is not None
                and not change.restarted
                and live.generation > 1
            ):
                await live.managed.restart(force=True)
            return change

        change = await self.enter(commit)
        self._raise_if_failed(live)
        if not transaction.quiet:
            for line in describe_change(live, change):
                print(line)  # noqa: T201  this is the cell's output

    async def _drop_stale(self, key: str, registering: set[str]) -> None:
        """End what a cell registered when it ran before and registers no more."""
        for live in [*self.live.values()]:
            if live.name in registering or key not in live.registrations:
                continue
            await live.drop(self.runtime, key)
            if live.registrations:
                print(f"{live.name} is without the handlers that this cell registered before")  # noqa: T201
            elif live.managed is not None:
                await self.runtime.remove(live.managed.qualified_name)
                del self.live[live.name]
                print(f"{live.name} is removed: no cell defines it any more")  # noqa: T201

    def _is_running(self, worker: Worker) -> bool:
        return any(getattr(managed, "worker", None) is worker for managed in self.runtime.workers())

    def _attach(self, worker: Worker) -> bool:
        """Take over `worker.run()` in a cell: the worker runs here when the cell is done."""
        return self.cells.running is not None and worker.name is not None

    def _raise_if_failed(self, live: LiveWorker) -> None:
        managed = live.managed
        if managed is not None and managed.state is WorkerState.ERROR:
            failures = [
                f.last_error for key, f in managed.figures.items() if key[0] == "on_startup" and f.last_error
            ]
            why = f"on_startup raised {failures[-1]}" if failures else managed.error
            raise WorkerFailed(f"worker {live.name!r} is in state error: {why}")

    def check_gate(self, name: str, when: tuple[str, ...]) -> None:
        """Check that the flags a worker waits for are declared.

        Raises:
            Refused: one is not.
        """
        declared = self.runtime.capability(LIVE_CAPABILITY).manifest.flags
        for flag in when:
            if flag not in declared:
                known = ", ".join(declared) or "none"
                raise Refused(
                    f"%%worker {name} --when {flag}: no such flag is declared (declared: {known}); "
                    f"declare it under flags: in a %%capability cell and run that first"
                )

    def state_of(self, name: str, *, in_handler: bool) -> dict[str, Any]:
        """Return a live worker's state; in the cell that registers for it, what it will be."""
        transaction = self._transactions.get(name)
        if transaction is not None and not in_handler:
            return transaction.recording.state
        live = self.live.get(name)
        return live.state if live is not None else {}

    def _current_worker(self, label: str | None) -> Worker:
        """Return the Worker that `worker` means here."""
        if label is not None:
            found = self._worker_of(label.rpartition(":")[2])
            if found is not None:
                return found
        if self._transactions:
            return [*self._transactions.values()][-1].recording
        latest = self._worker_of(self._latest or "")
        if latest is not None:
            return latest
        raise Refused("no worker runs here; run its %%worker cell")

    def _worker_of(self, name: str) -> Worker | None:
        live = self.live.get(name)
        worker = getattr(live.managed, "worker", None) if live is not None else None
        return worker if isinstance(worker, Worker) else None

    # -- around every cell -----------------------------------------------------------------------------

    def _await_magics(self, lines: list[str]) -> list[str]:
        # A cell is transformed before it runs; what is transformed while one runs is a body within it.
        return transform.await_magics(lines, nested=self.cells.running is not None)

    def _end_plain_cell(self, lines: list[str]) -> list[str]:
        return lines if self.cells.running is not None else transform.end_plain_cell(lines)

    def _pre_run_cell(self, info: Any) -> None:
        self._begin()
        self.cells.begin(info)
        self._interrupts.begin_cell()

    def _post_run_cell(self, result: Any) -> None:
        # A cell that failed leaves its transactions open: nothing of it takes effect.
        opened, self._transactions = self._transactions, {}
        self.agent_cell = None
        cell, succeeded = self.cells.running, bool(result.success)
        self.cells.end(succeeded)
        self._interrupts.end_cell()
        if succeeded and cell is not None and self.host.loop is not None:
            # Most cells have nothing left to do here: they close by themselves, or registered nothing.
            stale = any(cell.key in live.registrations for live in self.live.values())
            if opened or (stale and not self._closed(cell.key, cell.number)):
                self.host.post(self._finish_later, cell.key, [*opened.values()])

    def _closed(self, key: str, number: int) -> bool:
        return any(
            live.registrations[key].cell.number == number
            for live in self.live.values()
            if key in live.registrations
        )

    def _finish_later(self, key: str, opened: list[CellTransaction]) -> None:
        """Commit what a cell could not commit itself, such as one in the body of another magic."""

        async def finish() -> None:
            await self._drop_stale(key, {transaction.live.name for transaction in opened})
            for transaction in opened:
                try:
                    await self._commit_one(transaction)
                except (Refused, WorkerFailed) as exc:
                    print(f"{type(exc).__name__}: {exc}")  # noqa: T201  the cell has ended; this is where it is seen

        task = asyncio.ensure_future(finish())
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)

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
        if self.panel_widget is not None:
            self.panel_widget.tell_paused(block)

    def _released(self, block: Block) -> None:
        """Note, on the loop, how long it stood still."""
        for worker in self.runtime.workers():
            if worker.topology == "in-process" and worker.state is WorkerState.RUNNING:
                text = f"paused {block.seconds:.1f} s by {block.who}"
                self.runtime.log_line(worker.qualified_name, text, source="runtime", level="warning")
        if self.panel_widget is not None:
            self.panel_widget.tell_paused(None)

    # -- the rest --------------------------------------------------------------------------------------

    def declare(self, head: str, manifest: CapabilityManifest, label: str) -> None:
        """Take the head of the manifest from a `%%capability` cell."""
        self.head, self.head_cell = head, label
        # Live workers stay in the capability "notebook", whatever the export is called.
        self.runtime.capability(LIVE_CAPABILITY).declare(dataclasses.replace(manifest, name=LIVE_CAPABILITY))

    def panel(self) -> Panel:
        """Return the one panel of this runtime."""
        from dnworker_jupyter.panel_widget import Panel

        if self.panel_widget is None or self.panel_widget.is_closed:
            self.panel_widget = Panel(self)
        return self.panel_widget

    def stopped(self) -> None:
        """Note that the runtime was stopped: what needs it starts it again."""
        self._ready = None


def describe_change(live: LiveWorker, change: Change) -> list[str]:
    """Say what a commit changed."""
    managed = live.managed
    assert managed is not None
    how = " (restarted)" if change.restarted else ""
    topology = "" if live.topology == "in-process" else f" as a process ({live.topology})"
    lines = [f"{live.name} is {managed.state}{topology}{how}, generation {live.generation}"]
    if managed.state is WorkerState.GATED_OFF:
        lines[0] += f"; it needs one of these flags on: {', '.join(live.options.when)}"
    for sign, handlers in (("+", change.added), ("~", change.changed), ("-", change.removed)):
        for handler in handlers:
            what = f" {handler.what}" if handler.what else ""
            lines.append(f"  {sign} {handler.decorator}{what}: {handler.name}")
    for handler, cell in change.taken_over:
        lines.append(
            f"  ! {handler.name} was registered by {cell.label} too; this cell's is the one that counts now"
        )
    if next(live.handlers(), None) is None:
        lines.append("  it has no handlers yet")
    return lines
