"""`Shared`, `SharedLoop`, `contained`: the loop of `serve`, which no worker ends or takes from the others."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dnworker.core.owners import Culprit, culprit_in, current_culprit, current_owner, runs_users_code
from dnworker.engine.unhandled import UnhandledErrors, start_on_behalf
from dnworker.workers.lasting_loop import LastingLoop
from dnworker.workers.recorders import OnUnhandled
from dnworker.workers.tasks import KeeperTask, StartedTask

SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
"""The signals that end the program."""

REPLACED = ("stdout", "stderr", "excepthook")
"""Names of `sys` that workers may put something else behind."""


@contextmanager
def contained(note: OnUnhandled) -> Iterator[None]:
    """Report what workers' tasks, callbacks, threads and finalizers raise as theirs, while the block runs.

    Args:
        note: takes what the invocation of no worker, such as a turn's, has started.
    """
    errors = SharedErrors(note)
    errors.install()
    start, kept = threading.Thread.start, {name: getattr(sys, name) for name in REPLACED}
    threading.Thread.start = start_on_behalf(start)  # type: ignore[method-assign,assignment]  # a function binds
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
        errors.uninstall()
        for name, value in kept.items():  # the interpreter uses them still when it ends
            setattr(sys, name, value)


class Shared(asyncio.AbstractEventLoop):
    """What the loop of a process inherits from that a runtime has for itself.

    What would take the loop from the others is refused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.culprits: weakref.WeakKeyDictionary[Any, Culprit] = weakref.WeakKeyDictionary()
        """Whose each task is that code of a worker has started; before Python 3.12 a task does not know."""
        self.exception_handlers: dict[str, Any] = {}
        """Those that workers have set, by worker: each gets the errors of its own worker."""
        super().set_task_factory(_make_task)

    def stop(self) -> None:
        """Stop the loop.

        Raises:
            RuntimeError: code of a worker asks for it.
        """
        self._refuse(
            sys._getframe(1), "stop it", "to stop itself, a worker raises an exception in on_startup"
        )
        super().stop()

    def set_task_factory(self, factory: Any) -> None:
        """Set the task factory.

        Raises:
            RuntimeError: code of a worker asks for it.
        """
        self._refuse(sys._getframe(1), "set its task factory", "run the worker as a process, by `command:`")
        super().set_task_factory(factory)

    def set_default_executor(self, executor: Any) -> None:
        """Set the executor of `asyncio.to_thread`.

        Raises:
            RuntimeError: code of a worker asks for it.
        """
        self._refuse(sys._getframe(1), "set its executor", "give run_in_executor() an executor")
        super().set_default_executor(executor)

    async def shutdown_default_executor(self, *args: Any, **fields: Any) -> None:
        """End the threads of `asyncio.to_thread`.

        Raises:
            RuntimeError: code of a worker asks for it.
        """
        self._refuse_culprit("end its threads")
        await super().shutdown_default_executor(*args, **fields)

    async def shutdown_asyncgens(self) -> None:
        """Close all asynchronous generators.

        Raises:
            RuntimeError: code of a worker asks for it.
        """
        self._refuse_culprit("close the generators of others")
        await super().shutdown_asyncgens()

    def set_exception_handler(self, handler: Any) -> None:
        """Set the exception handler; a worker's gets the errors of that worker, once they are reported."""
        owner = current_owner.get()
        if owner is not None and runs_users_code(sys._getframe(1)):
            self.exception_handlers[owner.worker] = handler
        else:
            super().set_exception_handler(handler)

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:  # type: ignore[override]  # any args
        """Call something when a signal arrives.

        Raises:
            RuntimeError: code of a worker asks for a signal that ends the runtime.
        """
        if sig in SIGNALS:
            self._refuse(sys._getframe(1), f"handle {signal.Signals(sig).name}", "use @worker.on_shutdown")
        super().add_signal_handler(sig, callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Call nothing any more when a signal arrives.

        Raises:
            RuntimeError: code of a worker asks for a signal that ends the runtime.
        """
        if sig in SIGNALS:
            self._refuse(sys._getframe(1), f"handle {signal.Signals(sig).name}", "use @worker.on_shutdown")
        return super().remove_signal_handler(sig)

    def _refuse_culprit(self, what: str) -> None:
        # A coroutine is called by the loop, or by what awaits it: only the context tells who wants it.
        if current_culprit() is not None:
            raise RuntimeError(f"this loop belongs to all workers, and none of them may {what}")

    def _refuse(self, caller: Any, what: str, remedy: str) -> None:
        if runs_users_code(caller):
            raise RuntimeError(f"this loop belongs to all workers, and none of them may {what}; {remedy}")


class SharedLoop(Shared, asyncio.SelectorEventLoop):  # type: ignore[misc]  # arguments of any type
    """Such a loop of asyncio; `own_uvloop.py` has another."""


def _make_task(loop: Any, coro: Any, context: contextvars.Context | None = None, **fields: Any) -> Any:
    """Make a task: workers cannot cancel one of the runtime, and of one of theirs it is noted whose."""
    culprit = current_culprit() if context is None else culprit_in(context)
    if culprit is None:
        return KeeperTask(coro, loop=loop, context=context, **fields)
    task = StartedTask(coro, loop=loop, context=context, **fields)
    task.owner = culprit.owner
    loop.culprits[task] = culprit
    if isinstance(loop, LastingLoop):
        task.add_done_callback(loop.note_done)
    return task


def _culprit_of_handle(handle: Any) -> Culprit | None:
    """Return whose a callback is that has raised."""
    if handle is None:
        return None
    context = getattr(handle, "_context", None)
    return current_culprit() if context is None else culprit_in(context)  # uvloop reports it in its context


class SharedErrors(UnhandledErrors):
    """Knows from a `Shared` loop whose a task is."""

    def culprit_of(self, context: dict[str, Any]) -> Culprit | None:
        """Return whose an error is: by the task or callback that it is of."""
        task = context.get("task") or context.get("future")
        culprits = self._loop.culprits if isinstance(self._loop, Shared) else {}
        known = None if task is None else culprits.get(task)
        return known or _culprit_of_handle(context.get("handle")) or super().culprit_of(context)

    def _take(self, loop: Any, context: dict[str, Any]) -> None:
        super()._take(loop, context)
        handlers = loop.exception_handlers if isinstance(loop, Shared) else {}
        if not handlers:
            return
        culprit = self.culprit_of(context)
        if culprit is not None and culprit.owner is not None and (own := handlers.get(culprit.owner.worker)):
            try:
                own(loop, context)
            except BaseException as exc:  # it may even say sys.exit()
                self.give(culprit, exc, "its exception handler")
