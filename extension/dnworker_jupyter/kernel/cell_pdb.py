"""`CellPdb`: IPython's debugger in a handler, whose prompt is in the cell that waits; `breakpoints` makes it.

It stops in the handler's own code and what that calls, and nowhere else: other tasks go on between steps.
"""

from __future__ import annotations

import bdb
import builtins
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import CodeType, FrameType
from typing import Any, NamedTuple

from IPython.core.debugger import Pdb

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.workers.tasks import EndedByUser
from dnworker_jupyter.kernel.cell_input import CellInput
from dnworker_jupyter.kernel.user_frames import innermost_users, is_stepped_in, of_handler

_LEAVES = frozenset({"exit", "exit()", "quit", "quit()"})
"""What leaves `interact`, where nobody can type the end of the input."""

STDLIB_PDB: Any = next(base for base in Pdb.__mro__ if base.__module__ == "pdb")
"""The debugger of the standard library itself: a kernel puts IPython's in the place of `pdb.Pdb`."""

_begin_tracing: Callable[..., None] = bdb.Bdb.set_trace
"""Before anybody has replaced it."""


class UserFrames:
    """Mixed into a `Pdb`: its stack begins at the user's code, and ends a post-mortem where that raised."""

    def get_stack(self, frame: FrameType | None, traceback: Any) -> tuple[list[tuple[FrameType, int]], int]:
        """Return the frames, oldest first, and which of them is shown."""
        stack, at = super().get_stack(frame, traceback)  # type: ignore[misc]  # that of Pdb
        own = of_handler(stack)
        if frame is None:
            return own, innermost_users(own)
        return own, max(0, at - (len(stack) - len(own)))


class Hooks(NamedTuple):
    """What a debugger calls: around each prompt, when the handler goes on, and when the user ends it."""

    stopped: Callable[[CellPdb], AbstractContextManager[None]]
    went_on: Callable[[CellPdb], object]
    quit: Callable[[CellPdb], object]


def _debugger_of(tracer: Any) -> CellPdb | None:
    """Return the debugger of a cell that traces with this; None where it is somebody else's."""
    owner = getattr(tracer, "__self__", None)
    return owner if isinstance(owner, CellPdb) else None


class CellPdb(UserFrames, Pdb):  # type: ignore[misc]  # IPython's is untyped
    """The debugger of one invocation.

    Args:
        io: asks and writes in the cell.
        invocation: whose handler it stops.
        hooks: what is called around prompts.
    """

    def __init__(
        self,
        io: CellInput,
        invocation: Invocation,
        hooks: Hooks,
    ) -> None:
        super().__init__(completekey=None, stdin=io, stdout=io, nosigint=True)
        self.use_rawinput = True  # the prompt goes to the front end with the question
        self.report_skipped = False
        self.io = io
        self.invocation = invocation
        self._hooks = hooks
        self._before: Any = None
        self._is_finished = False
        self.awaited: CodeType | None = None
        """The code at whose first line it is to stop."""

    # -- begin and end ---------------------------------------------------------------------------------

    def begin(self, frame: FrameType) -> None:
        """Stop at the next line of a frame that runs here."""
        self._note_tracing()
        self.initial_frame = frame
        _begin_tracing(self, frame)

    def await_call(self, code: CodeType) -> None:
        """Stop at the first line of a function that is called here from now on."""
        self._note_tracing()
        self.reset()
        self.awaited = code
        self.botframe = sys._getframe()
        self._set_stopinfo(self.botframe, None, -1)
        sys.settrace(self.trace_dispatch)

    def finish(self) -> None:
        """Stop nowhere any more: the handler has ended."""
        self._is_finished = True
        self._end_tracing()
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if getattr(frame.f_trace, "__self__", None) is self:
                frame.f_trace = None
            frame = frame.f_back
        self._before = self._traced_before()
        self.forget()

    def _note_tracing(self) -> None:
        tracer = sys.gettrace()
        above = _debugger_of(tracer)
        if above is self:
            return
        while above is not None:  # it stops again, above another: no two give the thread back to each other
            if (below := _debugger_of(above._before)) is self:
                above._before = self._before
            above = below
        self._before = tracer

    def _end_tracing(self) -> None:
        """Give the thread back to who traced it before, such as a debugger of the front end."""
        tracer = sys.gettrace()
        if tracer is None or getattr(tracer, "__self__", None) is self:
            sys.settrace(self._traced_before())

    def _traced_before(self) -> Any:
        """Return who traced the thread before, passing over debuggers that have ended."""
        before = self._before
        while (debugger := _debugger_of(before)) is not None and debugger._is_finished:
            before = debugger._before
        return before

    # -- where it stops --------------------------------------------------------------------------------

    def trace_dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Look only at the handler's own frames; the user's wish to quit ends the handler."""
        if not self._is_mine(frame):
            return None
        if self.awaited is not None:
            if event != "call" or frame.f_code is not self.awaited:
                return None
            self.awaited = None
            self.initial_frame = frame
            self.set_step()
            return self.trace_dispatch
        try:
            return super().trace_dispatch(frame, event, arg)
        except bdb.BdbQuit:
            self._hooks.quit(self)
            self.finish()
            raise EndedByUser("ended in the debugger") from None

    def _is_mine(self, frame: FrameType) -> bool:
        if self._is_finished or current_invocation.get() is not self.invocation or not is_stepped_in(frame):
            return False
        if not self.io.cell.is_waiting:
            self.finish()
            return False
        return True

    def set_continue(self) -> None:
        """Run on, at full speed where no breakpoint is set."""
        super().set_continue()
        self._hooks.went_on(self)
        if not self.breaks:
            self._end_tracing()

    def set_quit(self) -> None:
        """End the handler."""
        super().set_quit()
        self._end_tracing()

    # -- in the cell -----------------------------------------------------------------------------------

    def interaction(self, frame: FrameType | None, tb_or_exc: Any) -> None:
        """Prompt in the cell, until the user lets the handler go on."""
        with self._hooks.stopped(self):
            self.io.run(super().interaction, frame, tb_or_exc)

    def _cmdloop(self) -> None:
        try:
            self.allow_kbdint = True
            self.cmdloop()
        except KeyboardInterrupt:
            self.message("interrupted")
            self.do_quit("")
        finally:
            self.allow_kbdint = False

    def do_interact(self, arg: str) -> None:
        """Type Python with all names of this frame; exit() leads back."""
        ask = self.io.ask

        def read(prompt: object = "") -> str:
            line = ask(prompt)
            if line.strip() in _LEAVES:
                raise EOFError
            return line

        self.io.ask = read  # type: ignore[method-assign]
        before, builtins.input = builtins.input, read
        try:
            self.message("exit() leads back to the debugger")
            super().do_interact(arg)
        finally:
            builtins.input = before
            del self.io.ask
