"""`PostMortem`: keeps what handlers raised, and opens a debugger in the frame that raised, in a cell.

`%debug` uses it, and `%pdb on`; `dn.last_failure` reads it.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from IPython.core.display_trap import DisplayTrap

from dnworker.core.errors import HandlerFailed, UsageError
from dnworker.core.handler_error import BASE_TRACEBACK, describe
from dnworker.core.invocation import Invocation
from dnworker.engine.engine import Engine
from dnworker.events.failures import Failure
from dnworker_jupyter.kernel.cell_input import CellInput
from dnworker_jupyter.kernel.cell_pdb import STDLIB_PDB, UserFrames
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.interrupts import hide_own_frames
from dnworker_jupyter.kernel.patching import replace
from dnworker_jupyter.kernel.stops import Stops
from dnworker_jupyter.kernel.waiting_cells import WaitingCells

FAILURES_KEPT = 20
"""Failures of a kernel that are kept with their frames."""

LONGEST_KEPT = 3600.0
"""Seconds after which their frames are let go."""

SHOWN = 10
"""Failures that an error message names."""

TOLD = (HandlerFailed, UsageError)
"""What a cell raises that is clear without the frames of the cell."""

_HANDLER = re.compile(r"[\w.:-]+\.\w+")


class PostMortem:
    """The failures of one notebook's handlers that can be entered.

    Args:
        engine: whose handlers fail.
        shell: that shows debuggers.
        cells: tells which cell runs.
        waiting: tells which cell waited for a handler.
        stops: notes that the loop is stopped.
    """

    def __init__(
        self, engine: Engine, shell: Any, *, cells: CellBook, waiting: WaitingCells, stops: Stops
    ) -> None:
        self._engine = engine
        self._shell = shell
        self._cells = cells
        self._waiting = waiting
        self._stops = stops
        self._failures = engine.history.failures
        self._cell_failed: tuple[float, BaseException] | None = None
        self._to_open: Failure | None = None
        self._what = ""
        """What the debugger that is opened now is in, where that is no code of a cell."""
        self._timer: asyncio.TimerHandle | None = None

    def install(self) -> Callable[[], None]:
        """Keep failures from now on; returns what lets all of them go and ends it."""
        undo, events = ExitStack(), self._shell.events
        self._failures.keep(FAILURES_KEPT)
        undo.callback(self._failures.keep, 0)
        undo.callback(self.forget)
        undo.callback(self._failures.noted.add(self._note))
        undo.callback(self._engine.listen(self._forget_gone))
        undo.callback(replace(STDLIB_PDB, "interaction", self._noting_stops))
        undo.callback(replace(self._shell, "showtraceback", self._without_debugger))
        for name, hook in (("pre_run_cell", self._before_cell), ("post_run_cell", self._after_cell)):
            events.register(name, hook)
            undo.callback(events.unregister, name, hook)
        return undo.close

    # -- what is kept ----------------------------------------------------------------------------------

    def entries(self) -> list[Failure]:
        """Return what can be entered, the newest first."""
        return self._failures.entries()

    def forget(self) -> None:
        """Let all frames go."""
        self._let_go(lambda _: True)
        self._cell_failed = self._to_open = None

    def _let_go(self, which: Callable[[Failure], bool]) -> None:
        for failure in self._failures.forget(which):
            if getattr(sys, "last_value", None) is failure.exception:
                _set_last(None)
        if not len(self._failures) and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note(self, failure: Failure) -> None:
        """Let `pdb.pm()` find it, and open it when its cell has ended, where `%pdb` is on; on the loop."""
        _set_last(failure.exception)
        self._forget_old()
        if self._timer is None:
            self._timer = self._engine.loop.call_later(LONGEST_KEPT, self._on_timer)
        if (
            self._shell.call_pdb
            and self._to_open is None
            and self._waiting.of(failure.invocation) is not None
        ):
            self._to_open = failure

    def _on_timer(self) -> None:
        self._timer = None
        self._forget_old()
        if len(self._failures):
            self._timer = self._engine.loop.call_later(LONGEST_KEPT / 4, self._on_timer)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - LONGEST_KEPT
        self._let_go(lambda failure: failure.since <= oldest)

    def _forget_gone(self) -> None:
        """Let frames of workers go that are not there any more, with what they hold."""
        if len(self._failures):
            there = {worker.qualified_name for worker in self._engine.workers()}
            self._let_go(lambda failure: failure.invocation.worker not in there)

    def _before_cell(self, info: Any) -> None:
        self._forget_old()
        self._to_open = None

    def _after_cell(self, result: Any) -> None:
        error = getattr(result, "error_in_exec", None)
        is_its_own = error is not None and not isinstance(error, TOLD)
        if error is not None and is_its_own:
            self._cell_failed = time.monotonic(), error
        failure, self._to_open = self._to_open, None
        if failure is None or is_its_own or self._cells.now is not None:
            return  # IPython has opened its own for what the cell raised, or more of the cell is to come
        if failure in self.entries() and self.why_no_input() is None:
            self.open(failure)

    # -- what is entered -------------------------------------------------------------------------------

    def why_no_input(self) -> str | None:
        """Return why nobody can answer a prompt in the cell that runs here; None where somebody can."""
        request = self._waiting.request()
        if request is None or request.has_input:
            return None
        return (
            "this front end gives no standard input, so nobody could answer a debugger; "
            "dn.last_failure is the exception, with its traceback"
        )

    def newest(self) -> Failure | None:
        """Return the newest failure, if it is newer than what a cell itself has raised."""
        entries = self.entries()
        if not entries:
            return None
        if self._cell_failed is not None and self._cell_failed[0] > entries[0].since:
            return None
        return entries[0]

    def named(self, words: str) -> Failure | None:
        """Return the failure that `#12` or `bridge.on_turn` names; None where the words mean something else.

        Raises:
            UsageError: they name an event or a handler whose failure is not kept.
        """
        entries = self.entries()
        if words.startswith("#"):
            found = [one for one in entries if _is_of(one.invocation, words)]
        elif _HANDLER.fullmatch(words) and self._is_handler(words):
            found = [one for one in entries if _is_called(one.invocation, words)]
        else:
            return None
        if not found:
            raise UsageError(
                f"{words} did not fail, or is not kept any more; {self._what_there_is()}", code="DN120"
            )
        return found[0]

    def _is_handler(self, words: str) -> bool:
        worker = words.rpartition(".")[0]
        is_kept = any(_is_called(one.invocation, words) for one in self.entries())
        return is_kept or any(worker in (one.name, one.qualified_name) for one in self._engine.workers())

    def _what_there_is(self) -> str:
        entries = self.entries()
        if not entries:
            return f"nothing can be entered now: the last {FAILURES_KEPT} failures are kept, for an hour"
        more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
        names = ", ".join(f"%debug {name_of(one.invocation)}" for one in entries[:SHOWN])
        return f"these can be entered: {names}{more}"

    def open(self, failure: Failure) -> None:
        """Open the debugger where a handler raised, in the cell that runs here.

        Raises:
            UsageError: the front end cannot answer.
        """
        if (why := self.why_no_input()) is not None:
            raise UsageError(why, code="DN120")
        invocation, exc = failure.invocation, failure.exception
        print(f"{name_of(invocation)} {invocation.label}: {describe(exc)}; q leaves")  # noqa: T201  in the cell
        others = [one for one in self.entries() if one is not failure and _is_same_event(one, failure)]
        for one in others[:SHOWN]:
            print(f"also failed for it: %debug {_short(one.invocation)}")  # noqa: T201
        _set_last(exc)
        debugger = type("PostMortemPdb", (UserFrames, self._shell.debugger_cls), {})()
        self._what = f"%debug of {invocation.label}"
        try:
            with DisplayTrap(hook=sys.__displayhook__):
                debugger.reset()
                debugger.interaction(None, _as_it_is(exc))
        finally:
            self._what = ""

    def _without_debugger(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the `showtraceback` of IPython that opens no debugger, with `%pdb on`, for what is told.

        Its debugger would stop within dnworker, or in the frames of an older exception.
        """

        def showtraceback(*args: Any, **fields: Any) -> Any:
            given = args[0] if args else fields.get("exc_tuple")
            undo = ExitStack()
            exc = given[1] if given else sys.exc_info()[1]
            hide_own_frames(exc)
            if isinstance(exc, TOLD):
                undo.callback(replace(self._shell, "debugger", lambda _: _open_nothing))
            with undo:
                return original(*args, **fields)

        return showtraceback

    def _noting_stops(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the `Pdb.interaction` of all debuggers: one in a cell holds the loop on purpose, too."""

        def interaction(debugger: Any, *args: Any, **fields: Any) -> Any:
            running = self._cells.now
            label = "a cell" if running is None else running.peek().label
            with self._stops.stopped(label, None, self._what), CellInput.asking():
                return original(debugger, *args, **fields)

        return interaction


def _open_nothing(*, force: bool = False) -> None:
    """Stand in for the `debugger` of IPython's shell."""


def name_of(invocation: Invocation) -> str:
    """Return what names a failed invocation on a `%debug` line: its event, else its handler."""
    return f"#{invocation.event.seq}" if invocation.event is not None else _short(invocation)


def _short(invocation: Invocation) -> str:
    return f"{invocation.worker.rpartition(':')[2]}.{invocation.handler}"


def _is_of(invocation: Invocation, words: str) -> bool:
    return invocation.event is not None and words == f"#{invocation.event.seq}"


def _is_called(invocation: Invocation, words: str) -> bool:
    return words in (invocation.label, _short(invocation))


def _is_same_event(one: Failure, other: Failure) -> bool:
    first, second = one.invocation.event, other.invocation.event
    return first is not None and second is not None and first.event_id == second.event_id


def _as_it_is(exc: BaseException) -> object:
    """Return what a debugger is given: the exception, or its traceback where its class says another one."""
    is_own = inspect.getattr_static(type(exc), "__traceback__") is not BASE_TRACEBACK
    return BASE_TRACEBACK.__get__(exc) if is_own else exc


def _set_last(exc: BaseException | None) -> None:
    """Set what `pdb.pm()` looks at, or take it away."""
    names = ("last_type", "last_value", "last_traceback", "last_exc")
    if exc is None:
        for name in names:
            if hasattr(sys, name):
                delattr(sys, name)
        return
    values = (type(exc), exc, BASE_TRACEBACK.__get__(exc), exc)
    for name, value in zip(names, values, strict=True):
        setattr(sys, name, value)
