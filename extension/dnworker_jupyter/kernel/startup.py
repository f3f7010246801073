"""`RuntimeStartup`: starts the runtime on the kernel's loop when it is first needed, and stops it.

`%load_ext` and every cell begin it; every magic waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from dnworker.compat import install as install_compat
from dnworker.core.errors import JournalError
from dnworker.core.listeners import Listeners
from dnworker.engine.engine import Engine
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.loop_watch import LoopWatch

log = logging.getLogger("dnworker.notebook")

HANDLERS_PART = 0.8
"""Of the seconds that the runtime gets to end with the kernel, the part that handlers of its workers get."""


class RuntimeStartup:
    """The start of one notebook's runtime: once, and again after `%runtime stop`."""

    def __init__(
        self,
        engine: Engine,
        loop: KernelLoop,
        watch: LoopWatch,
        locate_journal: Callable[[], Awaitable[Path | None]] | None = None,
    ) -> None:
        self.journal_problem: str | None = None
        """Why this run is not recorded; None when it is, or was not meant to be."""
        self.journal = None if engine.journal is None else engine.journal.path
        """The notebook's own journal, also while events and their journal are kept in another file."""
        self.on_loop: Listeners[[]] = Listeners()
        """Called on the loop each time after a wait for the runtime."""
        self.on_stopped: Listeners[[]] = Listeners()
        """Called when the runtime has stopped, or is about to stop with the kernel."""
        self._engine = engine
        self._loop = loop
        self._watch = watch
        self._locate_journal = locate_journal
        """Gives the journal's file, where something knows better now than when the engine was made."""
        self._started: asyncio.Task[None] | None = None
        self._workers_to_start: list[str] = []
        self._has_ended = False

    @property
    def is_started(self) -> bool:
        """Whether the runtime runs."""
        return self._engine.is_started

    def begin(self) -> None:
        """Start the runtime soon, from any thread; nothing while a kernel does not run yet: a cell will."""
        if not self._has_ended and self._loop.start() and self._started is None:
            self._loop.post(lambda: self._keep(asyncio.ensure_future(self._until_started())))

    async def ready(self) -> None:
        """Wait, on any loop, until the runtime has started.

        Raises:
            OSError: it could not start.
        """
        self.begin()
        await self._loop.enter(self._until_started)

    def note_stopped(self, running: Iterable[str]) -> None:
        """Note that the runtime was stopped, and which workers ran: the next `ready` starts both again."""
        self._started = None
        self._workers_to_start = list(running)
        self.on_stopped.notify()

    async def stop(self) -> None:
        """Stop the runtime in full."""
        if self._started is not None:
            await asyncio.wait({self._started})  # unloaded before it had started: what starts must be stopped
        self._started = None
        self.on_stopped.notify()
        await self._engine.stop()

    async def end(self, within: float) -> None:
        """Stop the runtime within so many seconds; it starts no more, as the kernel ends."""
        self._has_ended = True
        self.on_stopped.notify()
        if self._started is not None:
            await asyncio.wait({self._started}, timeout=within / 2)
        for worker in self._engine.workers():
            worker.hurry(within * HANDLERS_PART)
        await self._engine.stop(within=within)

    async def _until_started(self) -> None:
        if self._has_ended:
            raise OSError("the kernel ends, and the runtime has stopped with it")
        if self._started is None:
            loop = asyncio.get_running_loop()
            self._started = loop.create_task(self._start(), name="dnworker start")
            self._started.add_done_callback(self._forget_failed)
        await asyncio.shield(self._started)
        self.on_loop.notify()

    def _forget_failed(self, done: asyncio.Task[None]) -> None:
        """Let the next who waits try again what has failed."""
        if (done.cancelled() or done.exception() is not None) and self._started is done:
            self._started = None

    async def _start(self) -> None:
        self._watch.start()
        install_compat()  # before anything is awaited: the next cell may import it
        journal = self._engine.journal
        if journal is not None and self._engine.bus.broker.journal is None:
            if self._locate_journal is not None:
                journal.path = await self._locate_journal() or journal.path
            self.journal = journal.path
        try:
            await self._engine.start()
        except JournalError as exc:
            log.warning("%s; this run is not recorded", exc)
            self.journal_problem = str(exc)
            self._engine.journal = None
            await self._engine.start()
        while self._workers_to_start:
            await self._engine.worker(self._workers_to_start.pop(0)).start()  # another node may hold it

    def _keep(self, task: asyncio.Task[None]) -> None:
        # `ready` waits for the same start, and raises what it raised.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
