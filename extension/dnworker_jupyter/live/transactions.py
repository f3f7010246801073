"""What the cells of a notebook register: a cell is a transaction, for each worker that it is about."""

from __future__ import annotations

import asyncio
import linecache
from typing import TYPE_CHECKING, Any

from dnworker.client.client import RuntimeClient
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import UsageError, WorkerFailed
from dnworker.core.invocation import current_invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.runtime import LIVE_CAPABILITY
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.handles import LiveHandle, adopt, make_handle
from dnworker_jupyter.live.worker import (
    CellTransaction,
    Change,
    CurrentWorker,
    LiveWorker,
    NoWorker,
    handlers_of,
    wrong_signature,
)
from dnworker_jupyter.syntax.options import Options, read_worker_line

if TYPE_CHECKING:
    from dnworker_jupyter.kernel.cells import Cell, RunningCell
    from dnworker_jupyter.notebook import Notebook

NAMES = ("worker", "EventEnvelope", "RuntimeClient")
"""What a `%%worker` cell finds bound."""

_OPENING = "__import__('dnworker_jupyter')._open_"


class Transactions:
    """What the running cell has registered so far, and how it takes effect when the cell succeeds."""

    def __init__(self, book: Notebook) -> None:
        self.programs: dict[str, Cell] = {}
        """The cells of workers that are programs, by the worker's name."""
        self._book = book
        self._handles: dict[str, LiveHandle] = {}
        self._unfinished: set[asyncio.Task[None]] = set()
        self._latest: str | None = None

    # -- while a cell runs -----------------------------------------------------------------------------

    def begin_cell(self, running: RunningCell) -> None:
        """Note which Workers are there already: they are not made by this cell."""
        running.workers_before = {id(w): w.handler_count for w in self._plain_workers()}

    async def open_worker(self, line: str) -> None:
        """Begin a `%%worker` cell.

        Raises:
            UsageError: the line is wrong.
        """
        options = read_worker_line(line)
        self.show_magic(f"%%worker {line}")
        await self._book.ready()
        if self._book.cells.now is None:
            raise UsageError("%%worker must be the first line of a cell")
        self.check_gate(options.name, options.options.when)
        self.open(
            options.name,
            options.options,
            shared=options.shared,
            quiet=options.quiet,
            restart=options.restart,
        )
        self.bind_names()

    def bind_names(self) -> None:
        """Bind what a `%%worker` cell finds bound."""
        names = {
            "worker": CurrentWorker(self),
            "EventEnvelope": EventEnvelope,
            "RuntimeClient": RuntimeClient,
        }
        self._book.shell.user_ns.update(names)

    def forget_names(self) -> None:
        """Take those names out of the notebook, where they are ours still."""
        names = self._book.shell.user_ns
        for name in NAMES:
            value = names.get(name)
            if value is EventEnvelope or value is RuntimeClient or type(value) is CurrentWorker:
                del names[name]

    def show_magic(self, line: str) -> None:
        """Let tracebacks show the line that the user wrote in the place of the call that it became."""
        for name in reversed([*linecache.cache]):
            entry = linecache.cache[name]
            lines = entry[2] if len(entry) == 4 else []
            for number, text in enumerate(lines[:20]):
                if _OPENING in text:
                    lines[number] = f"# {line}\n"  # a comment: tracebacks parse what they show
                    return

    def open(self, name: str, options: Options | None = None, **how: bool) -> CellTransaction:
        """Return what the running cell registers for a worker, beginning it if need be.

        Raises:
            UsageError: no cell is running: what is registered would belong to none.
        """
        running = self._book.cells.now
        if running is None or current_invocation.get() is not None:
            raise UsageError(f"handlers of worker {name!r} can be registered only by a cell, while it runs")
        if name not in running.transactions:
            live = self._book.live.get(name) or LiveWorker(name, self._book.bridges)
            running.transactions[name] = CellTransaction(live, running.cell, options or live.options, **how)
        self._latest = name
        return running.transactions[name]

    def handle(self, name: str, options: Options | None = None, **how: bool) -> LiveHandle:
        """Return the live worker `name`, for plain Python.

        The cell that runs becomes a transaction of it where it says something of it; to use the handle of a
        worker that is there, or to register with it, needs nothing here.
        """
        if name not in self._handles:
            self._handles[name] = make_handle(self, name)
        running, live = self._book.cells.now, self._book.live.get(name)
        if options is not None:
            self.check_gate(name, options.when)
        is_news = options is not None or any(how.values())
        if running is None or current_invocation.get() is not None:
            return self._handles[name]
        if is_news or live is None or running.cell.key in live.registrations:
            self.open(name, options, **how)
        return self._handles[name]

    def latest_handle(self) -> LiveHandle:
        """Return the handle of the worker that cells were about last.

        Raises:
            NoWorker: there was none.
        """
        if self._latest is None:
            raise NoWorker("no worker is known here; run its %%worker cell, or name one: dn.worker('bridge')")
        return self.handle(self._latest)

    def attach(self, worker: Worker) -> bool:
        """Take over `worker.run()` in a cell: the worker runs here when the cell is done."""
        if self._book.cells.now is None or worker.name is None:
            return False
        if type(worker) is Worker:
            adopt(self, worker)
        return True

    # -- when it ends ----------------------------------------------------------------------------------

    async def close_cell(self) -> None:
        """Commit the cell that runs: what it registered becomes the next generation of each worker.

        Each worker is a transaction of its own: where the cell is about several, those before one that fails
        have taken effect.

        Raises:
            WorkerFailed: a worker went to `error` with them.
        """
        running = self._book.cells.now
        if running is None:
            return
        await self._book.ready()
        running.closed = True
        if running.agent is not None:
            print(await self._book.enter(running.agent.commit))  # noqa: T201  this is the cell's output
            return
        self._adopt_new(running)
        transactions, running.transactions = running.transactions, {}
        await self._book.enter(lambda: self._drop_stale(running.cell, set(transactions)))
        for transaction in transactions.values():
            await self._commit(transaction)

    def leave_cell(self, running: RunningCell, succeeded: bool) -> None:
        """Note that a cell has ended; what it left open takes effect later, or, when it failed, never."""
        if not succeeded or running.broken or running.closed or self._book.host.loop is None:
            return
        # Most cells have nothing left to do here: they close by themselves, or registered nothing.
        self._adopt_new(running, only_with_handlers=True)
        cell = running.cell
        stale = any(cell.key in live.registrations for live in self._book.live.values())
        stale |= any(c.key == cell.key and c.number != cell.number for c in self.programs.values())
        if running.transactions or stale:
            self._book.host.post(self._finish_later, running, cell)

    async def finished(self) -> None:
        """Wait until what earlier cells left to do is done."""
        while self._unfinished:
            await asyncio.wait([*self._unfinished])

    def _finish_later(self, running: RunningCell, cell: Cell) -> None:
        """Commit what a cell could not commit itself, such as one in the body of another magic."""

        async def finish() -> None:
            transactions = running.transactions
            await self._drop_stale(cell, set(transactions))
            for transaction in transactions.values():
                try:
                    await self._commit(transaction)
                except (UsageError, WorkerFailed) as exc:
                    self._book.failed_later(exc)

        task = asyncio.ensure_future(finish())
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)

    async def _commit(self, transaction: CellTransaction) -> None:
        live = transaction.live

        async def commit() -> Change:
            is_new = live.name not in self._book.live
            self._book.live[live.name] = live  # before it starts: its handlers look for their worker here
            try:
                change = await live.commit(self._book.runtime, transaction)
            except UsageError:
                if is_new:
                    del self._book.live[live.name]
                raise
            if (
                transaction.restart
                and live.managed is not None
                and not change.restarted
                and live.generation > 1
            ):
                await live.managed.restart(force=True)
            return change

        change = await self._book.enter(commit)
        self._raise_if_failed(live)
        if not transaction.quiet:
            for line in describe_change(live, change):
                print(line)  # noqa: T201  this is the cell's output

    async def _drop_stale(self, cell: Cell, registering: set[str]) -> None:
        """End what a cell registered when it ran before and registers no more."""
        for live in [*self._book.live.values()]:
            if live.name in registering or cell.key not in live.registrations:
                continue
            await live.drop(self._book.runtime, cell.key)
            if live.registrations:
                print(f"{live.name} is without the handlers that this cell registered before")  # noqa: T201
            elif live.managed is not None:
                await self._book.runtime.remove(live.managed.qualified_name)
                del self._book.live[live.name]
                print(f"{live.name} is removed: no cell defines it any more")  # noqa: T201
        for name, defined in [*self.programs.items()]:
            if defined.key == cell.key and defined.number != cell.number:
                del self.programs[name]
                if name in self._book.runtime.capability(LIVE_CAPABILITY).workers:
                    await self._book.runtime.remove(f"{LIVE_CAPABILITY}:{name}")
                print(f"{name} is removed: no cell defines it any more")  # noqa: T201

    def _adopt_new(self, running: RunningCell, *, only_with_handlers: bool = False) -> None:
        """Take in the Workers that the cell has made, or registered handlers with."""
        for worker in self._plain_workers():
            before = running.workers_before.get(id(worker), -1)
            wanted = (
                worker.handler_count > max(before, 0) if only_with_handlers else worker.handler_count > before
            )
            if wanted and worker.name is not None and not self._is_running(worker):
                adopt(self, worker)

    def _plain_workers(self) -> list[Worker]:
        return [w for w in [*self._book.shell.user_ns.values()] if type(w) is Worker and _is_of_cells(w)]

    def _is_running(self, worker: Worker) -> bool:
        return any(getattr(managed, "worker", None) is worker for managed in self._book.runtime.workers())

    def _raise_if_failed(self, live: LiveWorker) -> None:
        managed = live.managed
        if managed is not None and managed.state is WorkerState.ERROR:
            failures = [
                f.last_error for key, f in managed.stats.items() if key[0] == "on_startup" and f.last_error
            ]
            why = f"on_startup raised {failures[-1]}" if failures else managed.error
            raise WorkerFailed(f"worker {live.name!r} is in state error: {why}")

    # -- what names mean -------------------------------------------------------------------------------

    def check_gate(self, name: str, when: tuple[str, ...]) -> None:
        """Check that the flags a worker waits for are declared.

        Raises:
            UsageError: one is not.
        """
        declared = self._book.runtime.capability(LIVE_CAPABILITY).manifest.flags
        for flag in when:
            if flag not in declared:
                known = ", ".join(declared) or "none"
                raise UsageError(
                    f"%%worker {name} --when {flag}: no such flag is declared (declared: {known}); "
                    f"declare it under flags: in a %%capability cell and run that first"
                )

    def is_handle(self, name: str) -> bool:
        """Tell whether a name of the notebook is bound to a worker that cells register with."""
        value = self._book.shell.user_ns.get(name)
        return type(value) in (CurrentWorker, LiveHandle, Worker)

    def state_of(self, name: str, *, in_handler: bool) -> dict[str, Any]:
        """Return a live worker's state; in the cell that registers for it, what it will be."""
        running = self._book.cells.now
        if running is not None and not in_handler and name in running.transactions:
            return running.transactions[name].recording.state
        live = self._book.live.get(name)
        return live.state if live is not None else {}

    def current_worker(self) -> Worker:
        """Return the Worker that `worker` means here.

        Raises:
            NoWorker: there is none.
        """
        invocation = current_invocation.get()
        if invocation is not None:
            found = self._worker_of(invocation.worker.rpartition(":")[2])
            if found is not None:
                return found
        running = self._book.cells.now
        if running is not None and running.transactions:
            return [*running.transactions.values()][-1].recording
        latest = self._worker_of(self._latest or "")
        if latest is not None:
            return latest
        raise NoWorker("no worker runs here; run its %%worker cell")

    def is_recording(self) -> bool:
        """Tell whether the cell that runs has begun to register."""
        running = self._book.cells.now
        return running is not None and bool(running.transactions)

    def _worker_of(self, name: str) -> Worker | None:
        live = self._book.live.get(name)
        worker = getattr(live.managed, "worker", None) if live is not None else None
        return worker if isinstance(worker, Worker) else None


def _is_of_cells(worker: Worker) -> bool:
    """Tell whether a Worker's handlers, if it has any, are of cells; those of an imported module are not."""
    return all(getattr(h.function, "__module__", None) == "__main__" for h in handlers_of(worker))


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
    for handler in (*change.added, *change.changed):
        if (wrong := wrong_signature(handler)) is not None:
            lines.append(f"  ! {handler.name} {wrong}")
    for name in change.twice:
        lines.append(f"  ! {name} is defined twice in this cell; the last counts")
    for handler, cell in change.taken_over:
        lines.append(
            f"  ! {handler.name} was registered by {cell.label} too; this cell's is the one that counts now"
        )
    if next(live.handlers(), None) is None:
        lines.append("  it has no handlers yet")
    return lines
