"""Fits workers and JupyterLab's debugger together; `loading` installs it.

The debugger is debugpy in the kernel, which ipykernel starts and speaks with. It finds the cells by itself:
our transformer changes no line number, and ipykernel names a cell's file by its source as written. What it
cannot know is which code is ours, and that a handler's exception ends in our runner, which reports it.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnworker.core.handler_error import BASE_TRACEBACK
from dnworker.core.invocation import Invocation
from dnworker.core.listeners import Listeners
from dnworker.events.failures import Failure
from dnworker_jupyter.kernel.patching import replace

log = logging.getLogger("dnworker.debugger")

OWN_CODE = [
    f"{directory}/**"
    for directory in (Path(inspect.getfile(Invocation)).parents[1], Path(__file__).parents[1])
]
"""Patterns of the files that the debugger neither shows nor stops in."""


def install_lab_debugger(shell: Any, failed: Listeners[[Failure]]) -> Callable[[], None]:
    """Leave our code out of the debugger, and let it stop for what handlers raise; returns the reverse.

    Args:
        failed: called with each failed invocation, where it failed.
    """
    debugger = getattr(getattr(shell, "kernel", None), "debugger", None)
    if debugger is None:
        return lambda: None  # a terminal, or a kernel without debugpy
    modules: list[str] = getattr(debugger, "kernel_modules", [])  # ipykernel 6 leaves nothing out
    new = [pattern for pattern in OWN_CODE if pattern not in modules]
    modules += new  # ipykernel sends them to debugpy at the next attach
    _leave_out_now(new)
    end, restore = failed.add(stop_for_uncaught), _leave_processes_alone()

    def uninstall() -> None:
        end()
        restore()
        for pattern in new:
            if pattern in modules:
                modules.remove(pattern)

    return uninstall


def _leave_processes_alone() -> Callable[[], None]:
    """Let processes of Python that this one starts run; returns the reverse.

    debugpy has each wait until a client attaches to it, too, which ipykernel and JupyterLab never do: while
    the debugger is on, a worker's process would hang, and so would any other that a cell starts.
    """
    monkey = sys.modules.get("_pydev_bundle.pydev_monkey")
    if not hasattr(monkey, "_get_apply_arg_patching"):
        log.warning("while JupyterLab's debugger is on, worker processes hang: this debugpy is not known")
        return lambda: None
    return replace(monkey, "_get_apply_arg_patching", lambda original: lambda: False)


def _leave_out_now(patterns: list[str]) -> None:
    """Leave files out of a debugger that was attached before the extension was loaded."""
    if (attached := _attached()) is None:
        return
    try:
        from _pydevd_bundle.pydevd_filtering import ExcludeFilter

        present = attached._files_filtering._exclude_filters
        attached.set_exclude_filters([*present, *(ExcludeFilter(one, True, True) for one in patterns)])
    except (ImportError, AttributeError) as exc:
        log.warning("JupyterLab's debugger shows code of dnworker until it is turned off and on: %s", exc)


def stop_for_uncaught(failure: Failure) -> None:
    """Stop where a handler failed, if the debugger is to stop for uncaught exceptions.

    No exception of a handler reaches the end of a thread, which is what debugpy takes for uncaught: the
    runner catches it. So this asks debugpy to stop after the fact, as test runners do: the frames are there.
    """
    attached = _attached()
    if attached is None or not getattr(attached, "break_on_uncaught_exceptions", None):
        return
    try:
        from _pydevd_bundle.pydevd_additional_thread_info import set_additional_thread_info

        thread = threading.current_thread()
        exc = failure.exception
        raised = (type(exc), exc, BASE_TRACEBACK.__get__(exc))
        attached.stop_on_unhandled_exception(attached, thread, set_additional_thread_info(thread), raised)
    except Exception:
        log.exception("the debugger could not stop for what %s raised", failure.invocation.label)


def _attached() -> Any:
    """Return debugpy's debugger in this process; None while no front end has turned it on."""
    find = getattr(sys.modules.get("pydevd"), "get_global_debugger", None)
    return find() if find is not None else None
