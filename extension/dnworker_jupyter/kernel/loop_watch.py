"""`LoopWatch`: watches the kernel's loop while the runtime runs, and reports which handler holds it.

The watchdog finds out; this writes it to the logs of the workers, and notifies whoever shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from dnworker.core.lifecycle import WorkerState
from dnworker.core.listeners import Listeners
from dnworker.engine.engine import Engine
from dnworker.engine.watchdog import Block, Watchdog
from dnworker.workers.blocking import way_in_line


class LoopWatch:
    """The watchdog of one notebook's loop, and what it has found."""

    def __init__(self, engine: Engine) -> None:
        self.paused: Listeners[[Block | None]] = Listeners()
        """Called from any thread with the block that begins, and with None when it is over."""
        self.lasting: Listeners[[Block]] = Listeners()
        """Called on the watchdog's thread with a block that lasts for long, once."""
        self._engine = engine
        self._watchdog: Watchdog | None = None
        self._stop: Block | None = None

    @property
    def block(self) -> Block | None:
        """The block that lasts now, or what stops the loop on purpose."""
        if self._stop is not None:
            return self._stop
        return self._watchdog.block if self._watchdog is not None else None

    @property
    def blocks(self) -> list[Block]:
        """The latest blocks, the oldest first."""
        return list(self._watchdog.blocks) if self._watchdog is not None else []

    @property
    def blocked_for(self) -> float:
        """Seconds for which the loop has given no sign; 0.0 while it runs."""
        return self._watchdog.blocked_for if self._watchdog is not None else 0.0

    def start(self) -> None:
        """Begin to watch the running loop; a second call changes nothing."""
        if self._watchdog is None:
            loop = asyncio.get_running_loop()
            self._watchdog = Watchdog(
                loop, on_blocked=self._blocked, on_released=self._released, on_long=self.lasting.notify
            )
            self._watchdog.start()

    def stop(self) -> None:
        """End the watchdog's thread."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.stop()

    @contextmanager
    def stopped_on_purpose(self, block: Block) -> Iterator[None]:
        """Let the watchdog be silent while the body holds the loop, and panels say who does so."""
        watchdog, before = self._watchdog, self._stop
        with watchdog.stopped_on_purpose() if watchdog is not None else nullcontext():
            self._stop = block
            self.paused.notify(block)
            try:
                yield
            finally:
                self._stop = before
                self.paused.notify(before)

    def _blocked(self, block: Block) -> None:
        """Report, on the watchdog's thread, who holds the loop."""
        if block.invocation is not None:
            self._engine.log_line(
                block.invocation.worker,
                f"{block.invocation.handler} holds the loop, and every worker waits: {block.location}: "
                f"{block.source}; {way_in_line(block.source)}",
                source="runtime",
                level="warning",
                invocation=block.invocation,
            )
        self.paused.notify(block)

    def _released(self, block: Block) -> None:
        """Note, on the loop, how long it stood still."""
        for worker in self._engine.workers():
            if worker.topology == "in-process" and worker.state is WorkerState.RUNNING:
                text = f"paused {block.seconds:.1f} s by {block.who}"
                self._engine.log_line(worker.qualified_name, text, source="runtime", level="warning")
        self.paused.notify(None)
