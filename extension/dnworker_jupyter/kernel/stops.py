"""`Stops`: what a debugger's prompt means for all that waits meanwhile: the loop stands still, on purpose.

The watchdog says nothing, the other workers are told, and no time passes for time limits and durations.
"""

from __future__ import annotations

import contextvars
import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dnworker.core.invocation import Invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.time_limits import extend_time_limits
from dnworker.engine.engine import Engine
from dnworker.engine.watchdog import Block
from dnworker_jupyter.kernel.loop_watch import LoopWatch

TOLD = 5
"""Stops of one invocation that other workers are told of: a breakpoint may be in a loop."""


class Stops:
    """The stops of one notebook's loop by debuggers."""

    def __init__(self, engine: Engine, watch: LoopWatch) -> None:
        self._engine = engine
        self._watch = watch
        self._depth = 0
        self._told: dict[Invocation, int] = {}
        self._since: dict[Invocation, float] = {}
        """The seconds of stops since the others were told that one began."""

    @contextmanager
    def stopped(self, label: str, invocation: Invocation | None, what: str = "") -> Iterator[None]:
        """Stop the loop on purpose while the body runs; on another thread, nothing stops.

        Args:
            label: of the cell that the prompt is in.
            invocation: the handler that is stopped, or was; None for code of a cell.
            what: what the debugger is in, where that is no handler.
        """
        if threading.get_ident() != self._engine.thread_id or self._depth:
            yield
            return
        began = time.monotonic()
        who = what or (invocation.label if invocation is not None else "its code")
        block = Block(f"{label}: {who} is in the debugger", "", None)
        self._tell_begin(block.location, invocation)
        self._depth += 1
        try:
            with self._watch.stopped_on_purpose(block):
                yield
        finally:
            self._depth -= 1
            self._pass_no_time(began, time.monotonic() - began, invocation)

    def _pass_no_time(self, began: float, seconds: float, invocation: Invocation | None) -> None:
        extend_time_limits(seconds, self._engine.loop)
        history = self._engine.history
        moved = {one for one in history.invocations() if one.outcome == "running"}
        for one in [*moved]:  # what they are shown with has ended before: it moves along
            if one.event is not None:
                moved.update(history.invocations_of(one.event.event_id))
        for one in moved:
            if one.started_at <= began:
                one.started_at += seconds
        if invocation is not None and invocation in self._since:
            self._since[invocation] += seconds

    def _tell_begin(self, text: str, invocation: Invocation | None) -> None:
        if invocation is None or invocation in self._since:
            return
        told = self._told[invocation] = self._told.get(invocation, 0) + 1
        if told > TOLD:
            return
        self._since[invocation] = 0.0
        self._tell_others(f"paused by {text}", invocation)

    def tell_end(self, invocation: Invocation, *, has_ended: bool = False) -> None:
        """Tell the others that a handler has left the debugger; `has_ended`: for good."""
        seconds = self._since.pop(invocation, None)
        if seconds is not None:
            self._tell_others(f"went on after {seconds:.1f} s", invocation)
        if has_ended:
            self._told.pop(invocation, None)

    def _tell_others(self, text: str, invocation: Invocation) -> None:
        for worker in self._engine.workers():
            if worker.qualified_name == invocation.worker:
                continue
            if worker.topology == "in-process" and worker.state is WorkerState.RUNNING:
                # In an empty context: the line is not of the handler that runs here.
                write = functools.partial(self._engine.log_line, source="runtime", level="warning")
                contextvars.Context().run(write, worker.qualified_name, text)
