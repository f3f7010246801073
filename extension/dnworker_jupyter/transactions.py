"""What the cells of a notebook register: a cell is a transaction, for each worker that it is about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dnworker.client.client import RuntimeClient
from dnworker.errors import Refused, WorkerFailed
from dnworker.events import EventEnvelope
from dnworker.lifecycle import WorkerState
from dnworker.runtime import LIVE_CAPABILITY
from dnworker.worker import Worker
from dnworker_jupyter.handles import LiveHandle, adopt, make_handle
from dnworker_jupyter.options import Options, read_worker_line
from dnworker_jupyter.registration import CellTransaction, Change, CurrentWorker, LiveWorker

if TYPE_CHECKING:
    from dnworker_jupyter.agent_cells import AgentCell
    from dnworker_jupyter.notebook import Notebook

NAMES = ("worker", "EventEnvelope", "RuntimeClient")
"""What a `%%worker` cell finds bound."""


class Transactions:
    """What the running cell has registered so far, and how it takes effect when the cell succeeds."""

    def __init__(self, book: Notebook) -> None:
        self.agent_cell: AgentCell | None = None
        self._book = book
        self._open: dict[str, CellTransaction] = {}
        self._handles: dict[str, LiveHandle] = {}
        self._unfinished: set[asyncio.Task[None]] = set()
        self._latest: str | None = None

    async def open_worker(self, line: str) -> None:
        """Begin a `%%worker` cell.

        Raises:
            Refused: the line is wrong.
        """
        options = read_worker_line(line)
        await self._book.ready()
        if self._book.cells.running is None:
            raise Refused("%%worker must be the first line of a cell")
        self.check_gate(options.name, options.options.when)
        self.open(
            options.name,
            options.options,
            shared=options.shared,
            quiet=options.quiet,
            restart=options.restart,
        )
        self._book.shell.user_ns.update(
            worker=CurrentWorker(self._current_worker),
            EventEnvelope=EventEnvelope,
            RuntimeClient=RuntimeClient,
        )

    def open(self, name: str, options: Options | None = None, **how: bool) -> CellTransaction:
        """Return what the running cell registers for a worker, beginning it if need be.

        Raises:
            Refused: no cell is running: what is registered would belong to none.
        """
        cell = self._book.cells.running
        if cell is None:
            raise Refused(f"handlers of worker {name!r} can be registered only while a cell runs")
        if name not in self._open:
            live = self._book.live.get(name) or LiveWorker(name, self._book.bridges)
            self._open[name] = CellTransaction(live, cell, options or live.options, **how)
        self._latest = name
        return self._open[name]

    def handle(self, name: str, options: Options | None = None, **how: bool) -> LiveHandle:
        """Return the live worker `name`, for plain Python.

        The cell that runs becomes a transaction of it where it says something of it; to use the handle of a
        worker that is there, or to register with it, needs nothing here.
        """
        if name not in self._handles:
            self._handles[name] = make_handle(self, name)
        cell, live = self._book.cells.running, self._book.live.get(name)
        if options is not None:
            self.check_gate(name, options.when)
        is_news = options is not None or any(how.values())
        if cell is not None and (is_news or live is None or cell.key in live.registrations):
            self.open(name, options, **how)
        return self._handles[name]

    async def close_cell(self) -> None:
        """Commit the cell that runs: what it registered becomes the next generation of each worker.

        Raises:
            WorkerFailed: a worker went to `error` with them.
        """
        await self._book.ready()
        if self.agent_cell is not None:
            agent, self.agent_cell = self.agent_cell, None
            print(await self._book.enter(agent.commit))  # noqa: T201  this is the cell's output
            return
        for value in [*self._book.shell.user_ns.values()]:
            if type(value) is Worker and value.name is not None and not self._is_running(value):
                adopt(self, value)
        transactions, self._open = self._open, {}
        cell = self._book.cells.running
        if cell is not None:
            await self._book.enter(lambda: self._drop_stale(cell.key, set(transactions)))
        for transaction in transactions.values():
            await self._commit_one(transaction)

    async def _commit_one(self, transaction: CellTransaction) -> None:
        live = transaction.live
        self._book.live[live.name] = live

        async def commit() -> Change:
            change = await live.commit(self._book.runtime, transaction.registration(), transaction.options)
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

    async def _drop_stale(self, key: str, registering: set[str]) -> None:
        """End what a cell registered when it ran before and registers no more."""
        for live in [*self._book.live.values()]:
            if live.name in registering or key not in live.registrations:
                continue
            await live.drop(self._book.runtime, key)
            if live.registrations:
                print(f"{live.name} is without the handlers that this cell registered before")  # noqa: T201
            elif live.managed is not None:
                await self._book.runtime.remove(live.managed.qualified_name)
                del self._book.live[live.name]
                print(f"{live.name} is removed: no cell defines it any more")  # noqa: T201

    def _is_running(self, worker: Worker) -> bool:
        return any(getattr(managed, "worker", None) is worker for managed in self._book.runtime.workers())

    def attach(self, worker: Worker) -> bool:
        """Take over `worker.run()` in a cell: the worker runs here when the cell is done."""
        return self._book.cells.running is not None and worker.name is not None

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
        declared = self._book.runtime.capability(LIVE_CAPABILITY).manifest.flags
        for flag in when:
            if flag not in declared:
                known = ", ".join(declared) or "none"
                raise Refused(
                    f"%%worker {name} --when {flag}: no such flag is declared (declared: {known}); "
                    f"declare it under flags: in a %%capability cell and run that first"
                )

    def state_of(self, name: str, *, in_handler: bool) -> dict[str, Any]:
        """Return a live worker's state; in the cell that registers for it, what it will be."""
        transaction = self._open.get(name)
        if transaction is not None and not in_handler:
            return transaction.recording.state
        live = self._book.live.get(name)
        return live.state if live is not None else {}

    def _current_worker(self, label: str | None) -> Worker:
        """Return the Worker that `worker` means here."""
        if label is not None:
            found = self._worker_of(label.rpartition(":")[2])
            if found is not None:
                return found
        if self._open:
            return [*self._open.values()][-1].recording
        latest = self._worker_of(self._latest or "")
        if latest is not None:
            return latest
        raise Refused("no worker runs here; run its %%worker cell")

    def _worker_of(self, name: str) -> Worker | None:
        live = self._book.live.get(name)
        worker = getattr(live.managed, "worker", None) if live is not None else None
        return worker if isinstance(worker, Worker) else None

    def leave_cell(self, succeeded: bool) -> None:
        """Note that the running cell has ended; what it left open takes effect later, or never."""
        # A cell that failed leaves its transactions open: nothing of it takes effect.
        opened, self._open = self._open, {}
        self.agent_cell = None
        cell = self._book.cells.running
        if succeeded and cell is not None and self._book.host.loop is not None:
            # Most cells have nothing left to do here: they close by themselves, or registered nothing.
            stale = any(cell.key in live.registrations for live in self._book.live.values())
            if opened or (stale and not self._closed(cell.key, cell.number)):
                self._book.host.post(self._finish_later, cell.key, [*opened.values()])

    async def finished(self) -> None:
        """Wait until what earlier cells left to do is done."""
        while self._unfinished:
            await asyncio.wait([*self._unfinished])

    def forget_names(self) -> None:
        """Take the names that `%%worker` cells find bound out of the notebook, where they are ours still."""
        names = self._book.shell.user_ns
        for name in NAMES:
            value = names.get(name)
            if value is EventEnvelope or value is RuntimeClient or type(value) is CurrentWorker:
                del names[name]

    def _closed(self, key: str, number: int) -> bool:
        return any(
            live.registrations[key].cell.number == number
            for live in self._book.live.values()
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
