"""`Transactions`: registers what a cell declares, all or nothing for each worker; used by the hooks."""

from __future__ import annotations

import asyncio
import linecache
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from dnworker.client.client import RuntimeClient
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import UsageError, WorkerFailed, with_code
from dnworker.core.invocation import current_invocation
from dnworker.engine.engine import Engine
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.registry import handlers_of, keep_handlers
from dnworker.workers.runner import to_its_end
from dnworker.workers.worker import Worker
from dnworker_jupyter.kernel.cells import CellBook, RunningCell
from dnworker_jupyter.kernel.late_errors import LateErrors
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.startup import RuntimeStartup
from dnworker_jupyter.live.capability_head import beside_loaded, check_not_set_aside
from dnworker_jupyter.live.cell_options import CellOptions, Variables
from dnworker_jupyter.live.cell_transaction import CellTransaction, Draft
from dnworker_jupyter.live.exchange import AddressInUse
from dnworker_jupyter.live.handles import CurrentWorker, LiveHandle, NoWorker, adopt, make_handle
from dnworker_jupyter.live.leaving import Leaving, Left, runs_on
from dnworker_jupyter.live.notice import notice_of
from dnworker_jupyter.live.processes import Processes
from dnworker_jupyter.live.records import Change, handler_records
from dnworker_jupyter.live.report import describe_change
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options, read_worker_line
from dnworker_jupyter.syntax.transform import CELL_NAMES

_OPENING = "__import__('dnworker_jupyter')._open_"


class Transactions:
    """What the running cell has registered so far, and how it takes effect when the cell succeeds."""

    def __init__(
        self,
        shell: Any,
        *,
        engine: Engine,
        loop: KernelLoop,
        startup: RuntimeStartup,
        cells: CellBook,
        live: LiveWorkers,
        processes: Processes,
        late_errors: LateErrors,
    ) -> None:
        # collaborators
        self._shell = shell
        self._engine = engine
        self._loop = loop
        self._startup = startup
        self._cells = cells
        self._live = live
        self._processes = processes
        self._late_errors = late_errors
        # what is known of cells
        self._drafts: dict[RunningCell, Draft] = {}
        self._handles: dict[str, LiveHandle] = {}
        self._latest: str | None = None
        self._options = CellOptions()
        self._variables = Variables()
        self._unfinished: set[asyncio.Task[None]] = set()
        self._leaving = Leaving(engine, live, processes)
        self._said_to_run_on: set[str] = set()
        """The keys of cells that have failed since they registered, and said what runs on."""

    async def ready(self) -> None:
        """Wait until the runtime has started, and what earlier cells left to do is done.

        Raises:
            OSError: the runtime could not start.
        """
        await self._startup.ready()
        if current_invocation.get() is None:  # a handler that a commit waits for must not wait for it
            await self._loop.enter(self._finished)

    # -- while a cell runs -----------------------------------------------------------------------------

    def begin_cell(self, running: RunningCell) -> None:
        """Note which Workers are there already: they are not made by this cell."""
        before = {id(worker): (*handlers_of(worker),) for worker in self._plain_workers()}
        self._drafts[running] = Draft(before)

    def end_with(self, commit: Callable[[], Coroutine[Any, Any, str]]) -> None:
        """Let the running cell end with `commit`, which returns the cell's output, and register nothing.

        Raises:
            UsageError: no cell is running.
        """
        if (draft := self._draft()) is None:
            raise UsageError("no cell is running", code="DN105")
        draft.commit = commit

    async def open_worker(self, line: str) -> None:
        """Begin a `%%worker` cell.

        Raises:
            UsageError: the line is wrong.
        """
        options = read_worker_line(line)
        self.show_magic(f"%%worker {line}")
        await self.ready()
        if self._cells.now is None:
            raise UsageError("%%worker must be the first line of a cell", code="DN104")
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
        self._shell.user_ns.update(names)

    def forget_names(self) -> None:
        """Take those names out of the notebook, where they are ours still."""
        names = self._shell.user_ns
        for name in CELL_NAMES:
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
        running, draft = self._cells.now, self._draft()
        if running is None or draft is None or current_invocation.get() is not None:
            raise UsageError(
                f"handlers of worker {name!r} can be registered only by a cell, while it runs", code="DN105"
            )
        if name not in draft.transactions:
            live = self._live.get(name) or LiveWorker(name, self._engine, self._processes)
            known = self._options.begin(name, running.cell.key, options, live.registrations)
            draft.variables[name] = self._variables.set(known.env, self._engine.capability().root)
            draft.transactions[name] = CellTransaction(live, running.cell, known, **how)
        self._latest = name
        return draft.transactions[name]

    def handle(self, name: str, options: Options | None = None, **how: bool) -> LiveHandle:
        """Return the live worker `name`, for plain Python.

        The running cell begins a transaction of the worker if it gives options, if there is no such worker
        yet, or if it registered with the worker when it ran before.
        """
        if name not in self._handles:
            self._handles[name] = make_handle(self, name)
        running, live = self._cells.now, self._live.get(name)
        if options is not None:
            self.check_gate(name, options.when)
        is_news = options is not None or any(how.values())
        if running is None or current_invocation.get() is not None:
            return self._handles[name]
        if is_news or live is None or running.cell.key in live.registrations:
            self.open(name, options, **how)
        return self._handles[name]

    def latest_handle(self) -> LiveHandle:
        """Return the handle of the worker that cells registered with last.

        Raises:
            NoWorker: there was none.
        """
        if self._latest is None:
            raise NoWorker("no worker is known here; run its %%worker cell, or name one: dn.worker('bridge')")
        return self.handle(self._latest)

    def attach(self, worker: Worker) -> bool:
        """Take over `worker.run()` in a cell: the worker runs here when the cell is done."""
        if self._cells.now is None or worker.name is None:
            return False
        if type(worker) is Worker:
            adopt(self, worker, worker.name)
        return True

    # -- when it ends ----------------------------------------------------------------------------------

    async def close_cell(self) -> None:
        """Commit the cell that runs: what it registered becomes the next generation of each worker.

        Each worker is a transaction of its own: where the cell registers with several, those before one that
        fails have taken effect.

        Raises:
            WorkerFailed: a worker went to `error` with them.
        """
        running, draft = self._cells.now, self._draft()
        if running is None or draft is None:
            return
        await self.ready()
        draft.is_closed = True
        if (commit := draft.commit) is not None:
            print(await self._loop.enter(commit))  # noqa: T201  this is the cell's output
            return
        self._adopt_new(draft)
        transactions, draft.transactions = draft.transactions, {}
        for transaction in transactions.values():
            try:
                await self._commit(transaction, draft)
            except AddressInUse:
                left = self._leaving.left_by(running.cell, transactions)
                if not left:
                    raise
                await self._commit_after(left, transaction, draft, transactions)
        await self._drop_left(running.cell, transactions)

    async def _commit_after(
        self, left: list[Left], transaction: CellTransaction, draft: Draft, registering: Collection[str]
    ) -> None:
        """Commit once what the cell registered for other workers before has ended: that has its address."""
        await self._drop_left(transaction.cell, registering)
        try:
            await self._commit(transaction, draft)
        except BaseException:
            await self._loop.enter(lambda: to_its_end(self._leaving.put_back(left)))
            raise

    def leave_cell(self, running: RunningCell, succeeded: bool) -> None:
        """Note that a cell has ended; what it left open takes effect later, or, when it failed, never."""
        draft = self._drafts.pop(running, None)
        if draft is not None and draft.committing is not None:  # at a terminal, Ctrl-C ends the cell alone
            draft.is_left = True
            self._loop.post(draft.committing.cancel)
        if draft is not None and (not succeeded or running.broken):
            self._forget_failed(running.cell, draft)
            return
        self._said_to_run_on.discard(running.cell.key)
        if draft is None or draft.is_closed or self._loop.loop is None:
            return
        # Most cells have nothing left to do here: they close by themselves, or registered nothing.
        self._adopt_new(draft, only_with_handlers=True)
        cell = running.cell
        if draft.transactions or self._leaving.has_left(cell):
            self._loop.post(self._finish_later, draft.transactions, cell)

    def _forget_failed(self, cell: Cell, draft: Draft) -> None:
        """Leave nothing of a cell that failed, and say once which handlers of an earlier run run on."""
        for worker in self._plain_workers():
            handlers = draft.handlers_before.get(id(worker), ())
            if worker.handler_count > len(handlers):
                keep_handlers(worker, handlers)
        for undo in draft.variables.values():
            self._variables.put_back(undo)
        lines = [] if cell.key in self._said_to_run_on else [*runs_on(self._live, cell)]
        if lines:
            self._said_to_run_on.add(cell.key)
        for line in lines:
            print(line)  # noqa: T201  this is the cell's output

    async def _finished(self) -> None:
        """Wait until what earlier cells left to do is done."""
        while self._unfinished:
            await asyncio.wait([*self._unfinished])

    def later(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin what a cell left to do, on the loop; the next magic waits for it."""
        task = asyncio.ensure_future(make())
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)

    def _finish_later(self, transactions: dict[str, CellTransaction], cell: Cell) -> None:
        """Commit what a cell could not commit itself, such as one in the body of another magic."""

        async def finish() -> None:
            failed = False
            for transaction in transactions.values():
                try:
                    await self._commit(transaction)
                except (UsageError, WorkerFailed) as exc:
                    self._late_errors.add(exc)
                    failed = True
            try:
                if not failed:  # else what it registered before runs on
                    await self._drop_left(cell, transactions)
            except (UsageError, WorkerFailed) as exc:
                self._late_errors.add(exc)

        self.later(finish)

    async def _commit(self, transaction: CellTransaction, draft: Draft | None = None) -> None:
        live = transaction.live
        with notice_of(live):
            change = await self._loop.enter(lambda: self._become(transaction, draft or Draft()))
        lines = [] if transaction.quiet else describe_change(live, change)
        for line in [*lines, *beside_loaded(self._engine, live.name)]:
            print(line)  # noqa: T201  this is the cell's output

    async def _become(self, transaction: CellTransaction, draft: Draft) -> Change:
        """Let what a cell registered run; on the loop."""
        live = transaction.live
        draft.committing = asyncio.current_task()
        is_new = live.name not in self._live
        self._live.add(live)  # before it starts: its handlers look for their worker here
        try:
            change = await live.commit(
                transaction.registration(), transaction.options, stop_first=transaction.restart
            )
        except BaseException as exc:
            if is_new and live.managed is None:
                self._live.remove(live)
            if draft.is_left and isinstance(exc, WorkerFailed):
                print(with_code(exc))  # noqa: T201  the cell does not hear of it any more
            raise
        finally:
            draft.committing = None
        self._options.accept(live.name, transaction.cell.key)
        draft.variables.pop(live.name, None)
        return change

    async def _drop_left(self, cell: Cell, registering: Collection[str]) -> None:
        """End what a cell registered when it ran before and registers no more."""
        for line in await self._loop.enter(lambda: self._leaving.drop(cell, registering)):
            print(line)  # noqa: T201  this is the cell's output

    def forget(self, managed: ManagedWorker) -> None:
        """Forget what cells know of a worker that was removed."""
        live = self._live.running(managed)
        if live is not None:
            self._live.remove(live)
        if managed in self._engine.capabilities.own:
            self._live.programs.pop(managed.name, None)

    def _adopt_new(self, draft: Draft, *, only_with_handlers: bool = False) -> None:
        """Take in the Workers that the cell has made, or registered handlers with."""
        for worker in self._plain_workers():
            before = draft.handlers_before.get(id(worker))
            least = len(before) if before is not None else 0 if only_with_handlers else -1
            if worker.handler_count > least and worker.name is not None and not self._is_running(worker):
                adopt(self, worker, worker.name)

    def _plain_workers(self) -> list[Worker]:
        return [w for w in [*self._shell.user_ns.values()] if type(w) is Worker and _is_of_cells(w)]

    def _is_running(self, worker: Worker) -> bool:
        return any(getattr(managed, "worker", None) is worker for managed in self._engine.workers())

    # -- what names mean -------------------------------------------------------------------------------

    def check_gate(self, name: str, when: tuple[str, ...]) -> None:
        """Check that the flags a worker waits for are declared, and that it is not set aside.

        Raises:
            UsageError: one is not, or it is.
        """
        check_not_set_aside(self._engine, name)
        declared = self._engine.capability().manifest.flags
        for flag in when:
            if flag not in declared:
                known = ", ".join(declared) or "none"
                raise UsageError(
                    f"%%worker {name} --when {flag}: no such flag is declared (declared: {known}); "
                    f"declare it under flags: in a %%capability cell and run that first",
                    code="DN405",
                )

    def is_handle(self, name: str) -> bool:
        """Return whether a name of the notebook is bound to a worker that cells register with."""
        value = self._shell.user_ns.get(name)
        return type(value) in (CurrentWorker, LiveHandle, Worker)

    def state_of(self, name: str, *, in_handler: bool) -> dict[str, Any]:
        """Return a live worker's state; in the cell that registers for it, what it will be."""
        draft = self._draft()
        if draft is not None and not in_handler and name in draft.transactions:
            return draft.transactions[name].recording.state
        invocation = current_invocation.get()
        if in_handler and invocation is not None and invocation.worker.rpartition(":")[2] == name:
            worker = self._worker_of(name, invocation.generation)
            if worker is not None:
                return worker.state  # of its own generation, which may be one that is to come
        live = self._live.get(name)
        return live.state if live is not None else {}

    def generation_of(self, name: str) -> int:
        """Return the number of a live worker's present generation; 0 while it has none."""
        live = self._live.get(name)
        return live.generation if live is not None else 0

    def current_worker(self) -> Worker:
        """Return the Worker that `worker` means here.

        Raises:
            NoWorker: there is none.
        """
        invocation = current_invocation.get()
        if invocation is not None:
            found = self._worker_of(invocation.worker.rpartition(":")[2], invocation.generation)
            if found is not None:
                return found
        draft = self._draft()
        if draft is not None and draft.transactions:
            return [*draft.transactions.values()][-1].recording
        latest = self._worker_of(self._latest or "")
        if latest is not None:
            return latest
        raise NoWorker("no worker runs here; run its %%worker cell")

    def is_recording(self) -> bool:
        """Return whether the running cell has begun to register."""
        draft = self._draft()
        return draft is not None and bool(draft.transactions)

    def _draft(self) -> Draft | None:
        """Return what the cell on this thread has registered so far; None when no cell runs."""
        running = self._cells.now
        return None if running is None else self._drafts.setdefault(running, Draft())

    def _worker_of(self, name: str, generation: int = 0) -> Worker | None:
        live = self._live.get(name)
        managed = live.managed if live is not None else None
        worker = managed.worker_of(generation) if isinstance(managed, InProcessWorker) else None
        return worker if isinstance(worker, Worker) else None


def _is_of_cells(worker: Worker) -> bool:
    """Return whether a Worker's handlers, if it has any, are of cells, not of an imported module."""
    return all(getattr(h.function, "__module__", None) == "__main__" for h in handler_records(worker))
