"""`UnhandledErrors` of a notebook: collects what tasks and threads of handlers raise and nobody awaits."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from dnworker.core.owners import Culprit, culprit_in, current_culprit
from dnworker.engine import unhandled
from dnworker.engine.unhandled import HAS_CONTEXTS
from dnworker.workers.recorders import OnUnhandled
from dnworker_jupyter.kernel.patching import replace


class UnhandledErrors(unhandled.UnhandledErrors):
    """Notes each with the worker that it belongs to, on the kernel's loop; what is no handler's goes on."""

    def __init__(self, note: OnUnhandled) -> None:
        super().__init__(note)
        self._culprits: weakref.WeakKeyDictionary[Any, Culprit] = weakref.WeakKeyDictionary()
        self._untrack: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Replace the handlers of the running loop, threads and finalizers; again, it changes nothing."""
        if self._loop is None and not HAS_CONTEXTS:
            self._untrack = replace(asyncio, "create_task", self._follow_tasks)
        super().install()

    def uninstall(self) -> None:
        """Restore what was there before."""
        if self._loop is not None:
            self._untrack()
        super().uninstall()

    def culprit_of(self, context: dict[str, Any]) -> Culprit | None:
        """Return whose an error is, by the task or callback that the loop reports."""
        handle = context.get("handle")
        if handle is not None and not HAS_CONTEXTS:
            return culprit_in(handle._context)
        task = context.get("task") or context.get("future")
        return (None if task is None else self._culprits.get(task)) or super().culprit_of(context)

    def _follow_tasks(self, original: Any) -> Any:
        """Note which handler creates a task: before Python 3.12 the loop does not know a task's context."""

        def create_task(*args: Any, **fields: Any) -> Any:
            task = original(*args, **fields)
            if (culprit := current_culprit()) is not None:
                self._culprits[task] = culprit
            return task

        return create_task
