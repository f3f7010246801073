"""`lasting`: keeps the loop running when code of a worker raises SystemExit or KeyboardInterrupt into it.

asyncio lets these two out of a task or callback and out of `run_forever`, so that `sys.exit()` in a task
which a handler has started would end the runtime and every other worker. The loop may be a kernel's, so
nothing of it is replaced and no task factory is set: a callback of ours turns the loop from within, one
`_run_once` after the other, until the loop is stopped. What a worker raises arrives in that callback, which
tells the worker. Whatever else arrives there goes on as if the callback were not there. A loop that is made
for this, a `LastingLoop`, runs again instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any

from dnworker.core.handler_error import BASE_TRACEBACK
from dnworker.core.owners import (
    RUN_LOOPS,
    Culprit,
    culprit_by_module,
    culprit_in,
    current_culprit,
    ends_programs,
)
from dnworker.workers.recorders import OnUnhandled, log_unhandled

log = logging.getLogger("dnworker.runner")

SOURCE = "a task or callback it started"


@contextlib.contextmanager
def lasting(loop: asyncio.AbstractEventLoop, note: OnUnhandled) -> Iterator[None]:
    """Let the running loop survive what workers raise, while the block runs; blocks may overlap.

    A loop that is neither asyncio's own nor a `LastingLoop` is left as it is.

    Args:
        loop: which runs.
        note: called for what an invocation has started that belongs to no worker, such as a turn's.
    """
    if isinstance(loop, LastingLoop):
        with loop.lasting(note):
            yield
        return
    if not _is_known(loop):
        log.info(
            "%s is not a loop of asyncio: sys.exit() in a task that a handler starts ends it", type(loop)
        )
        yield
        return
    turning = _turning.get(loop)
    if turning is None:
        turning = _turning[loop] = _Turning(loop)
    turning.begin(note)
    try:
        yield
    finally:
        turning.end()


def _is_known(loop: Any) -> bool:
    """Return whether a loop has what is used of it; all of it is the same from Python 3.11 to 3.14."""
    return isinstance(loop, asyncio.BaseEventLoop) and all(
        hasattr(loop, name) for name in ("_run_once", "_stopping", "_ready")
    )


class _TurnHandle(asyncio.Handle):
    """The callback that turns the loop: what it raises leaves the loop, whatever it is."""

    def _run(self) -> None:
        self._context.run(self._callback, *self._args)  # type: ignore[attr-defined]  # each Handle has them


class _Turning:
    """Turns one loop from within a callback, for any number of runtimes."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._wanted = 0
        self._is_posted = False
        self._note: OnUnhandled = log_unhandled

    def begin(self, note: OnUnhandled) -> None:
        """Turn the loop from its next callback on."""
        self._note = note
        self._wanted += 1
        self._post()

    def end(self) -> None:
        """Let the loop turn by itself again, if nobody else wants this."""
        self._wanted -= 1
        if not self._wanted:
            _turning.pop(self._loop, None)  # it refers to its loop, and would keep that alive
        if not self._loop.is_closed():
            self._loop.call_soon(_nothing)  # it may wait for something to happen

    def _post(self) -> None:
        if not self._is_posted and not self._loop.is_closed():
            self._is_posted = True
            # Not by call_soon: its handle would log what a signal handler raises, and keep it from going on.
            self._loop._ready.append(_TurnHandle(self._turn, (), self._loop, contextvars.Context()))

    def _turn(self) -> None:
        loop = self._loop
        pending = len(loop._ready)
        try:
            while self._wanted and not loop._stopping:
                self._turn_once()
        finally:
            self._is_posted = False
            # The loop counted the callbacks of its round before this one began: it must find as many.
            while len(loop._ready) < pending:
                loop.call_soon(_nothing)
            if self._wanted:
                self._post()  # for the next time that it runs

    def _turn_once(self) -> None:
        try:
            self._loop._run_once()
        except BaseException as exc:
            if not ends_programs(exc) or not self._give_away(exc):
                raise

    def _give_away(self, exc: BaseException) -> bool:
        """Tell the worker whose code raised into the loop; False where it is nobody's."""
        traceback = BASE_TRACEBACK.__get__(exc)
        handle = _handle_of(traceback)
        culprit = None if handle is None else culprit_in(handle._context)  # type: ignore[attr-defined]  # get_context() from Python 3.12 on
        culprit = culprit or culprit_by_module(traceback)
        if culprit is None:
            return False
        if handle is not None:
            _close(handle)
        _tell(culprit, exc, self._note)
        return True


class LastingLoop:
    """What a loop inherits from that is not asyncio's: it runs again after what a worker has raised into it.

    Whose that is says the task that raised it, or the module of the code.
    """

    culprits: weakref.WeakKeyDictionary[Any, Culprit]
    """Whose each task is that code of a worker has started; who inherits from this has `note_done` called."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: list[asyncio.Task[Any]] = []
        self._notes: list[OnUnhandled] = []
        self._is_stopped = False

    @contextlib.contextmanager
    def lasting(self, note: OnUnhandled) -> Iterator[None]:
        """Run on after what workers raise, while the block runs; blocks may overlap."""
        self._notes.append(note)
        try:
            yield
        finally:
            self._notes.remove(note)

    def run_forever(self) -> None:
        """Run until `stop` is called."""
        self._is_stopped = False
        while True:
            try:
                super().run_forever()  # type: ignore[misc]  # of the loop that inherits from this
            except BaseException as exc:
                if not (self._notes and ends_programs(exc) and self._give_away(exc)):
                    raise
                if self._is_stopped:  # in the same turn, which the exception has cut short
                    return
            else:
                return

    def stop(self) -> None:
        """Stop at the end of this turn."""
        self._is_stopped = True
        super().stop()  # type: ignore[misc]

    # What a worker gives to these is wrapped, as a callback that has raised cannot be found. Not what it
    # gives to `call_soon`: each step of each task comes that way.

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """Call something after some seconds."""
        return super().call_later(delay, self._guarded(callback), *args, context=context)  # type: ignore[misc]

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """Call something at a time."""
        return super().call_at(when, self._guarded(callback), *args, context=context)  # type: ignore[misc]

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        """Call something in the next turn, from any thread."""
        return super().call_soon_threadsafe(self._guarded(callback), *args, context=context)  # type: ignore[misc]

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        """Call something while a file can be read; no more once it raises what ends a program."""
        super().add_reader(fd, self._guarded(callback, partial(self.remove_reader, fd)), *args)  # type: ignore[misc,attr-defined]

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> None:
        """Call something while a file can be written; no more once it raises what ends a program."""
        super().add_writer(fd, self._guarded(callback, partial(self.remove_writer, fd)), *args)  # type: ignore[misc,attr-defined]

    def note_done(self, task: asyncio.Task[Any]) -> None:
        """Note a task of a worker that is done; called before its exception, if it ends programs, leaves."""
        exc = getattr(task, "_exception", None)
        if exc is not None and ends_programs(exc):
            self._ended.append(task)

    def _guarded(self, callback: Any, remove: Callable[[], object] | None = None) -> Any:
        """Return what to call in the place of a callback: the same, where it is no worker's.

        Args:
            remove: called once it has raised what ends a program.
        """
        if not self._notes or (culprit := current_culprit()) is None:
            return callback

        def call(*args: Any) -> None:
            try:
                callback(*args)
            except BaseException as exc:
                if not ends_programs(exc) or not self._notes:
                    raise
                if remove is not None:
                    remove()
                _tell(culprit, exc, self._notes[-1])

        return call

    def _give_away(self, exc: BaseException) -> bool:
        """Tell the worker whose code raised into the loop; False where that is code of nobody."""
        ended, self._ended = self._ended, []
        for task in ended:  # of one turn, which raises but one of their exceptions
            _tell(self.culprits[task], task.exception(), self._notes[-1])  # type: ignore[arg-type]  # it has one
        traceback = BASE_TRACEBACK.__get__(exc)
        if any(task.exception() is exc for task in ended):
            return True
        if (culprit := culprit_by_module(traceback)) is not None:
            _tell(culprit, exc, self._notes[-1])
        elif not _has_code(traceback):  # such as `loop.call_soon(sys.exit)`, which is no code of the runtime
            log.error(
                "a callback that some worker gave to call_soon() raised %s; the loop goes on", type(exc)
            )
        else:
            return False
        return True


RUN_LOOPS.add(LastingLoop.run_forever.__code__)


def _has_code(traceback: TracebackType | None) -> bool:
    """Return whether a line of Python is in a traceback, beside those that run the loop."""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code not in RUN_LOOPS and not frame.f_code.co_filename.endswith(".pyx"):
            return True
        traceback = traceback.tb_next
    return False


def _tell(culprit: Culprit, exc: BaseException, note: OnUnhandled) -> None:
    """Tell the worker whose code raised, or `note` where it is the invocation of none."""
    try:
        if culprit.owner is not None:
            culprit.owner.escaped(exc, SOURCE, culprit.invocation)
        elif culprit.invocation is not None:
            note(culprit.invocation, exc, SOURCE)
    except BaseException:  # who is told writes to streams that workers may have replaced
        log.exception("code of a worker raised what would end the loop, and it could not be told")


_turning: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Turning] = weakref.WeakKeyDictionary()


def _nothing() -> None:
    """Wake the loop."""


def _close(handle: asyncio.Handle) -> None:
    """Let a callback that raised not be reported or called again."""
    future = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # of a task's step, the task
    if isinstance(future, asyncio.Future) and future.done() and not future.cancelled():
        future.exception()  # else it is reported once more when the task is collected
    handle.cancel()  # a reader or writer would raise again at once, and for ever


def _handle_of(traceback: TracebackType | None) -> asyncio.Handle | None:
    """Return the callback of the loop that a traceback leads through, the innermost one."""
    found = None
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name == "_run" and isinstance(one := frame.f_locals.get("self"), asyncio.Handle):
            found = one
        traceback = traceback.tb_next
    return found
