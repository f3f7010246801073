"""`KeeperTask`, `HandlerTask`, `StartedTask`: tasks that the code of other workers cannot cancel.

A handler can get hold of every task of the loop: `for task in asyncio.all_tasks(): task.cancel()`. What keeps
workers running is not its to cancel, nor are the tasks of others. `invoker.py` starts the first two kinds,
and the loop of `serve` the third.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Coroutine
from contextvars import Context
from types import FrameType, TracebackType
from typing import Any

from dnworker.core.handler_error import BASE_TRACEBACK, message_of
from dnworker.core.invocation import current_invocation
from dnworker.core.owners import Owner, current_owner, is_anothers, runs_users_code


class KeeperTask(asyncio.Task[Any]):
    """A task of the runtime, which code of workers cannot cancel: it runs no code of theirs."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it; False where a worker's code asks for it, which is reported as an error of that code."""
        if runs_users_code(sys._getframe(1)):
            refuse_cancellation(self, sys._getframe(1))
            return False
        return super().cancel(msg)


def keep(coro: Coroutine[Any, Any, Any], name: str, context: Context | None = None) -> KeeperTask:
    """Start a task that lasts as long as a part of the runtime does, on the loop that runs."""
    return KeeperTask(coro, loop=asyncio.get_running_loop(), name=name, context=context)


class HandlerTask(asyncio.Task[Any]):
    """A task that runs a handler. Its worker may cancel it once it has begun, which is its failure then."""

    __slots__ = ("owner",)  # a dict for each would cost a tenth of the task
    owner: Owner | None
    """Whose handler it is; set by who makes it."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it; False where another worker's code asks for it, or any before its first step.

        A handler that was cancelled before that could not report it.
        """
        has_begun = inspect.getcoroutinestate(self.get_coro()) != inspect.CORO_CREATED  # type: ignore[arg-type]  # it is one
        if (not has_begun or is_anothers(self.owner)) and runs_users_code(sys._getframe(1)):
            refuse_cancellation(self, sys._getframe(1))
            return False
        return super().cancel(msg)


class StartedTask(asyncio.Task[Any]):
    """A task that code of a worker has started, which only code of this worker may cancel."""

    owner: Owner | None = None
    """Whose code started it."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it; False where another worker's code asks for it, which is that one's error."""
        if is_anothers(self.owner) and runs_users_code(sys._getframe(1)):
            refuse_cancellation(self, sys._getframe(1))
            return False
        return super().cancel(msg)


class CancelRefused(RuntimeError):
    """Code of a worker cancelled a task that is not its own, and goes on."""


def refuse_cancellation(task: asyncio.Task[Any], caller: FrameType) -> None:
    """Report that code of the worker that runs here cancels a task which is not its own: once a run."""
    owner, invocation = current_owner.get(), current_invocation.get()
    said = () if invocation is None else invocation.unhandled
    if owner is None or any(error.type == CancelRefused.__name__ for error in said):
        return
    refused = CancelRefused(f"it cancelled {task.get_name()!r}, which is not a task of its own and goes on")
    place = TracebackType(None, caller, caller.f_lasti, caller.f_lineno)
    owner.escaped(refused.with_traceback(place), "its cancel()", invocation)


class EndedByUser(asyncio.CancelledError):
    """Raised in a handler that somebody ends, as in a debugger: it counts as cancelled, not as failed."""


def explain_cancellation(exc: BaseException) -> BaseException:
    """Return what a handler raised; a CancelledError with a text that says what it is, where it was raised.

    It is called in the task of the handler, when the runtime itself has not cancelled that.
    """
    if not issubclass(type(exc), asyncio.CancelledError):
        return exc
    task = asyncio.current_task()
    was_cancelled = task is not None and task.cancelling() > 0
    while task is not None and task.cancelling():
        task.uncancel()
    why = (
        "code outside of the runtime cancelled the task of the handler"
        if was_cancelled
        else "something that the handler awaited was cancelled, and not the handler itself"
    )
    said = message_of(exc)
    return asyncio.CancelledError(f"{why}: {said}" if said else why).with_traceback(
        BASE_TRACEBACK.__get__(exc)
    )
