"""`Notebook`: what the extension holds for one kernel, from `%load_ext` to `%unload_ext`."""

from __future__ import annotations

import asyncio
import atexit
import logging
from typing import TYPE_CHECKING, Any

from dnworker.capability.manifest import CapabilityManifest
from dnworker.client.client import RuntimeClient
from dnworker.errors import Refused, WorkerFailed
from dnworker.events import EventEnvelope
from dnworker.lifecycle import WorkerState
from dnworker.places import add_locator, remove_locator
from dnworker.runtime import LIVE_CAPABILITY, Runtime
from dnworker.worker import Worker
from dnworker_jupyter import transform
from dnworker_jupyter.cells import CellBook
from dnworker_jupyter.options import read_worker_line
from dnworker_jupyter.registration import CellTransaction, Change, CurrentWorker, LiveWorker
from dnworker_jupyter.routing import OutputRouter

if TYPE_CHECKING:
    from dnworker_jupyter.panel_widget import Panel

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
    try:
        asyncio.get_running_loop().call_soon(_stop_leaving, leaving)
    except RuntimeError:  # no loop runs: a terminal between cells
        _stop_leaving(leaving)


def _stop_leaving(notebook: Notebook) -> None:
    global _leaving
    if _leaving is notebook:
        _leaving = None
        notebook.stop()


class Notebook:
    """The runtime of one kernel, its live workers, and every hook in IPython."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.cells = CellBook(shell)
        self.runtime = Runtime(port=0)
        self.live: dict[str, LiveWorker] = {}
        self.head: str | None = None
        self.head_cell: str | None = None
        self._router = OutputRouter(self.runtime, shell)
        self._panel: Panel | None = None
        self._transaction: CellTransaction | None = None
        self._latest: str | None = None
        self._ready: asyncio.Task[None] | None = None
        self._magics: Any = None
        self._restart_wanted = False
        self._stopping: asyncio.Task[None] | None = None
        self._commit = transform.CommitTransformer()

    # -- hooks -----------------------------------------------------------------------------------------

    def install(self) -> None:
        """Put every hook in and start the runtime on the running loop."""
        from dnworker_jupyter.magics import DnworkerMagics
        from dnworker_jupyter.trace_view import register_formatters

        shell = self.shell
        add_locator(self.cells.locate)
        self._router.install()
        shell.input_transformer_manager.cleanup_transforms.insert(0, transform.worker_cell)
        shell.input_transformers_post.append(self._await_magics)
        shell.ast_transformers.append(self._commit)
        shell.events.register("pre_run_cell", self._pre_run_cell)
        shell.events.register("post_run_cell", self._post_run_cell)
        self._magics = DnworkerMagics(shell, self)
        shell.register_magics(self._magics)
        register_formatters(shell)
        import dnworker_jupyter

        shell.user_ns["dn"] = dnworker_jupyter
        shell.user_ns_hidden.update({"dn": dnworker_jupyter, transform.LAST_VALUE: None})
        atexit.register(self._at_exit)
        try:
            self._begin()
        except RuntimeError:
            log.warning("no event loop is running; workers run only while a cell runs")

    def uninstall(self) -> None:
        """Take every hook out; the runtime runs on until `stop`."""
        shell = self.shell
        for hooks, hook in (
            (shell.input_transformer_manager.cleanup_transforms, transform.worker_cell),
            (shell.input_transformers_post, self._await_magics),
            (shell.ast_transformers, self._commit),
        ):
            if hook in hooks:
                hooks.remove(hook)
        shell.events.unregister("pre_run_cell", self._pre_run_cell)
        shell.events.unregister("post_run_cell", self._post_run_cell)
        for kind, magics in self._magics.magics.items():
            for name in magics:
                shell.magics_manager.magics[kind].pop(name, None)
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
        self._router.uninstall()
        atexit.unregister(self._at_exit)

    def stop(self) -> None:
        """Close the panel and stop the runtime in full, while the loop turns."""
        if self._panel is not None:
            self._panel.close()
            self._panel = None
        try:
            self._stopping = asyncio.get_running_loop().create_task(self.runtime.stop(), name="dnworker stop")
        except RuntimeError:
            asyncio.run(self.runtime.stop())

    async def ready(self) -> None:
        """Wait until the runtime has started.

        Raises:
            OSError: it could not.
        """
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        if self._ready is None:
            loop = asyncio.get_running_loop()
            self._ready = loop.create_task(self.runtime.start(), name="dnworker start")
        return self._ready

    def _at_exit(self) -> None:
        """End worker processes with the kernel; the guard would, 5 s later and less politely."""
        self.runtime.guard.close()

    # -- %%worker --------------------------------------------------------------------------------------

    async def open_cell(self, line: str) -> None:
        """Begin a `%%worker` cell.

        Raises:
            Refused: the line is wrong.
        """
        options = read_worker_line(line)
        name = options.name
        await self.ready()
        cell = self.cells.running
        if cell is None:
            raise Refused("%%worker must be the first line of a cell")
        self._check_gate(name, options.options.when)
        live = self.live.get(name) or LiveWorker(name)
        self._transaction = CellTransaction(
            live,
            cell,
            options.options,
            shared=options.shared,
            quiet=options.quiet,
        )
        self._restart_wanted = options.restart
        self._latest = name
        self.shell.user_ns.update(
            worker=CurrentWorker(self._current_worker),
            EventEnvelope=EventEnvelope,
            RuntimeClient=RuntimeClient,
        )

    async def close_cell(self) -> None:
        """Commit the `%%worker` cell that runs: its handlers become the next generation.

        Raises:
            WorkerFailed: the worker went to `error` with them.
        """
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return
        live = transaction.live
        self.live[live.name] = live
        change = await live.commit(self.runtime, transaction.registration(), transaction.options)
        if self._restart_wanted and live.managed is not None and not change.restarted and live.generation > 1:
            await live.managed.restart(force=True)
        self._raise_if_failed(live)
        if not transaction.quiet:
            for line in describe_change(live, change):
                print(line)  # noqa: T201  this is the cell's output

    def _raise_if_failed(self, live: LiveWorker) -> None:
        managed = live.managed
        if managed is not None and managed.state is WorkerState.ERROR:
            failures = [
                f.last_error for key, f in managed.figures.items() if key[0] == "on_startup" and f.last_error
            ]
            why = f"on_startup raised {failures[-1]}" if failures else managed.error
            raise WorkerFailed(f"worker {live.name!r} is in state error: {why}")

    def _check_gate(self, name: str, when: tuple[str, ...]) -> None:
        declared = self.runtime.capability(LIVE_CAPABILITY).manifest.flags
        for flag in when:
            if flag not in declared:
                known = ", ".join(declared) or "none"
                raise Refused(
                    f"%%worker {name} --when {flag}: no such flag is declared (declared: {known}); "
                    f"declare it under flags: in a %%capability cell and run that first"
                )

    def _current_worker(self, label: str | None) -> Worker:
        """Return the Worker that `worker` means here."""
        if label is not None:
            name = label.rpartition(":")[2]
            live = self.live.get(name)
            if live is not None and live.managed is not None and live.managed.worker is not None:
                return live.managed.worker
        if self._transaction is not None:
            return self._transaction.recording
        latest = self.live.get(self._latest or "")
        if latest is not None and latest.managed is not None and latest.managed.worker is not None:
            return latest.managed.worker
        raise Refused("no worker runs; run its %%worker cell")

    def _await_magics(self, lines: list[str]) -> list[str]:
        # A cell is transformed before it runs; what is transformed while one runs is a body within it.
        return transform.await_magics(lines, nested=self.cells.running is not None)

    def _pre_run_cell(self, info: Any) -> None:
        self.cells.begin(info)

    def _post_run_cell(self, result: Any) -> None:
        # A cell that failed leaves its transaction open: nothing of it takes effect.
        self._transaction = None
        self.cells.end(bool(result.success))

    # -- the rest --------------------------------------------------------------------------------------

    def declare(self, head: str, manifest: CapabilityManifest, label: str) -> None:
        """Take the head of the manifest from a `%%capability` cell."""
        import dataclasses

        self.head, self.head_cell = head, label
        # Live workers stay in the capability "notebook", whatever the export is called.
        self.runtime.capability(LIVE_CAPABILITY).declare(dataclasses.replace(manifest, name=LIVE_CAPABILITY))

    def panel(self) -> Panel:
        """Return the one panel of this runtime."""
        from dnworker_jupyter.panel_widget import Panel

        if self._panel is None or self._panel.is_closed:
            self._panel = Panel(self.runtime)
        return self._panel


def describe_change(live: LiveWorker, change: Change) -> list[str]:
    """Say in a few lines what a commit did."""
    managed = live.managed
    assert managed is not None
    how = " (restarted)" if change.restarted else ""
    lines = [f"{live.name} is {managed.state}{how}, generation {live.generation}"]
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
