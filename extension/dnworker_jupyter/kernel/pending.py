"""`PendingMagics`: magics that run on because nothing could await them; their cell ends when they have.

A magic in a function that is not async, or in the body of a magic that does not wait, only begins where it
stands. In a kernel the loop that it needs is the one that runs the cell, so it cannot be waited for there:
the cell is, at its end, with all that it shows in the cell's output. In a thread without a loop, such as that
of a terminal's cells or of `asyncio.to_thread`, it is waited for on the spot.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from IPython.display import display

from dnworker.core.errors import UsageError
from dnworker.core.invocation import current_invocation
from dnworker.core.listeners import Listeners
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.interrupts import Interrupts
from dnworker_jupyter.kernel.late_errors import LateErrors
from dnworker_jupyter.kernel.patching import replace


class NoResultYet(UsageError, AttributeError):
    """A magic was asked for what only its result has."""

    code = "DN108"


class Pending:
    """What a magic returns: awaited, its result. Once it is done, it also looks like that.

    Args:
        magic: its name, such as `%fire`.
        task: what runs it.
        show: displays its result when it is done.
    """

    def __init__(self, magic: str, task: asyncio.Future[object], show: Callable[[Pending], None]) -> None:
        self._magic = magic
        self._task = task
        self._show = show
        self._is_awaited = False

    def __await__(self) -> Generator[Any, None, object]:
        self._is_awaited = True
        return self._task.__await__()

    def _result(self) -> Any:
        done = self._task.done() and not self._task.cancelled() and self._task.exception() is None
        return self._task.result() if done else None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self._result() is None:
            state = "was not successful" if self._task.done() else "is under way"
            raise NoResultYet(
                f"{self._magic} {state}, so it has no {name!r}; wait for it in an async function: "
                f"async def f(): trace = {self._magic} ..., and then: await f()"
            )
        return getattr(self._result(), name)

    def __repr__(self) -> str:
        result = self._result()
        if result is not None:
            return repr(result)
        state = "failed or returned nothing" if self._task.done() else "under way"
        return f"<{self._magic}: {state}; await it for its result>"

    def _ipython_display_(self) -> None:
        if self._task.done():
            result = self._result()
            print(repr(self)) if result is None else display(result)  # noqa: T201  the cell's output
        else:
            self._show(self)


class PendingMagics:
    """The magics of one notebook that nobody awaits.

    Args:
        cells: tells whether a cell runs.
        interrupts: lets a handler that holds the loop be interrupted first.
        late_errors: takes what they raise.
    """

    def __init__(self, cells: CellBook, interrupts: Interrupts, late_errors: LateErrors) -> None:
        self._cells = cells
        self._interrupts = interrupts
        self._late_errors = late_errors
        self._begun: set[Pending] = set()
        """Of cells, and not awaited when they were begun."""
        self._showing: set[asyncio.Future[None]] = set()
        self.shown: Listeners[[]] = Listeners()
        """Told at the end of a cell whose code had ended when its magics showed what they return."""

    def install(self, shell: Any) -> Callable[[], None]:
        """Let every cell of a kernel end when its magics have; returns what undoes it."""
        kernel = getattr(shell, "kernel", None)
        if not hasattr(kernel, "do_execute"):
            return lambda: None
        return replace(kernel, "do_execute", self._ending_later)

    def _ending_later(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        # The parameters by name: ipykernel looks which of them there are, once, before this.
        async def do_execute(*args: Any, **fields: Any) -> Any:
            try:
                return await execute(*args, **fields)
            finally:
                await self.wait_interruptibly()

        return do_execute

    def begin(self, magic: str, make: Callable[[], Coroutine[Any, Any, object]]) -> object:
        """Run a magic; returns a `Pending`, or its result where no loop runs that a wait would block."""
        if not _loop_runs():
            return _run_here(make())
        if current_invocation.get() is not None or self._cells.now is None:
            return Pending(magic, asyncio.ensure_future(make()), self.show_soon)
        self._cells.note_frame()
        before = [pending._task for pending in self._unawaited()]
        pending = Pending(magic, asyncio.ensure_future(_after(before, make)), self.show_soon)
        self._begun.add(pending)
        pending._task.add_done_callback(lambda _: self._forget_awaited(pending))
        return pending

    def _forget_awaited(self, pending: Pending) -> None:
        if pending._is_awaited:
            self._begun.discard(pending)

    async def show(self, awaitable: Awaitable[object]) -> None:
        """Wait for a magic, and display what it returns."""
        result = await awaitable
        if result is not None:
            display(result)

    def show_soon(self, result: object) -> None:
        """Display what a magic returns, when it is there."""
        if not isinstance(result, Pending):
            if result is not None:
                display(result)
            return
        shown = asyncio.ensure_future(self.show(result))
        self._showing.add(shown)
        shown.add_done_callback(self._note_shown)

    def _note_shown(self, shown: asyncio.Future[None]) -> None:
        self._showing.discard(shown)
        if not shown.cancelled() and (exc := shown.exception()) is not None:
            self._late_errors.add(exc)

    async def wait(self, timeout: float | None = None) -> None:
        """Return when all that nobody awaits is done and shown, or after `timeout` seconds."""
        begun = self._unawaited()
        tasks: list[asyncio.Future[Any]] = [pending._task for pending in begun]
        tasks += self._shows()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
            await asyncio.sleep(0)  # the callbacks that note what is done
        for pending in begun:
            task = pending._task
            if not task.done():
                continue
            self._begun.discard(pending)
            if not pending._is_awaited and not task.cancelled() and (exc := task.exception()) is not None:
                self._late_errors.add(exc)

    async def wait_interruptibly(self) -> None:
        """Wait as `wait` does, but only until SIGINT; what the magics began goes on then."""
        if self._unawaited() or self._shows():
            with self._on_sigint(self._cancel):
                await self.wait()
            self.shown.notify()

    def _unawaited(self) -> list[Pending]:
        """Return what cells of the loop that runs here have begun and nobody awaits."""
        loop = asyncio.get_running_loop()
        return [p for p in [*self._begun] if not p._is_awaited and p._task.get_loop() is loop]

    def _shows(self) -> list[asyncio.Future[None]]:
        """Return what waits on the loop that runs here to show a result."""
        loop = asyncio.get_running_loop()
        return [shown for shown in [*self._showing] if shown.get_loop() is loop]

    def _cancel(self) -> None:
        for pending in self._unawaited():
            pending._task.cancel()
        for shown in self._shows():
            shown.cancel()

    @contextmanager
    def _on_sigint(self, callback: Callable[[], None]) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # a subshell: signals are not its business
            return
        loop = asyncio.get_running_loop()
        before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(callback))
        self._interrupts.begin_cell()
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


async def _after(
    before: list[asyncio.Future[object]], make: Callable[[], Coroutine[Any, Any, object]]
) -> object:
    """Run a magic when those that were begun before it, and are not waited for, are done: in their order."""
    if before:
        await asyncio.wait(before)
    return await make()


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_here(magic: Coroutine[Any, Any, object]) -> object:
    """Run a magic to its end on a loop of this moment; the runtime's own runs on another thread."""
    loop = asyncio.new_event_loop()  # not asyncio.run: it would take the terminal's loop away
    task = loop.create_task(magic)
    try:
        return loop.run_until_complete(task)
    except KeyboardInterrupt:
        task.cancel()
        return loop.run_until_complete(task)  # raises what the magic says of an interrupt
    finally:
        loop.close()
