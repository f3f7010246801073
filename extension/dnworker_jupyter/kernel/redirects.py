"""Confines redirections of output to the handler or cell that made them; used by `output`.

`contextlib.redirect_stdout` and IPython's capture replace `sys.stdout` for the whole process. Handlers
interleave with cells and with each other: each would write into the other's buffer, and the last to leave
would put back a buffer instead of the stream. So a handler's redirection is a ContextVar, and what a cell
puts in the place of a stream still sends handlers' text to their log.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
from collections.abc import Callable
from io import StringIO
from types import ModuleType
from typing import Any

from IPython.utils.capture import CapturedIO, capture_output

from dnworker.core.invocation import current_invocation
from dnworker_jupyter.kernel.patching import after_import, replace

_Targets = dict[str, Any]

targets: contextvars.ContextVar[_Targets | None] = contextvars.ContextVar("dnworker_redirects", default=None)
"""Where the handler that runs here redirects stdout, stderr and displays, by name; a stream or a list."""

_TOKENS = "_dnworker_tokens"
"""The attribute of a manager that has the tokens of `targets`, by the invocation that entered it."""


def install(guard_streams: Callable[[], None]) -> list[Callable[[], None]]:
    """Patch all ways to redirect; returns what undoes it.

    Args:
        guard_streams: called when a cell has put something in the place of a stream.
    """
    base = contextlib.redirect_stdout.__mro__[1]
    widgets: list[Callable[[], None]] = []

    def patch(module: ModuleType) -> None:
        output = module.Output
        widgets.append(
            replace(output, "__enter__", lambda original: _entering(original, _into_widget, lambda: None))
        )
        widgets.append(replace(output, "__exit__", _leaving))

    end = after_import("ipywidgets.widgets.widget_output", patch)
    return [
        end,
        lambda: _undo(widgets),
        replace(base, "__enter__", lambda original: _entering(original, _redirect, guard_streams)),
        replace(base, "__exit__", _leaving),
        replace(capture_output, "__enter__", lambda original: _entering(original, _capture, guard_streams)),
        replace(capture_output, "__exit__", _leaving),
    ]


def _undo(undos: list[Callable[[], None]]) -> None:
    while undos:
        undos.pop()()


def _entering(
    original: Any, within_handler: Callable[[Any], tuple[_Targets, Any]], guard_streams: Callable[[], None]
) -> Any:
    def enter(manager: Any) -> Any:
        invocation = current_invocation.get()
        if invocation is None:
            entered = original(manager)
            guard_streams()
            return entered
        wanted, entered = within_handler(manager)
        token = targets.set({**(targets.get() or {}), **wanted})
        manager.__dict__.setdefault(_TOKENS, {}).setdefault(invocation, []).append(token)
        return entered

    return enter


def _leaving(original: Any) -> Any:
    def leave(manager: Any, *exc_info: Any) -> Any:
        invocation, entered = current_invocation.get(), manager.__dict__.get(_TOKENS, {})
        tokens = entered.get(invocation)
        if not tokens:
            return original(manager, *exc_info)
        for target in (targets.get() or {}).values():
            if isinstance(target, _WidgetText):
                target.flush()
        _reset_newest(tokens)
        if not tokens:
            entered.pop(invocation, None)
        return None

    return leave


def _reset_newest(tokens: list[contextvars.Token[_Targets | None]]) -> None:
    """End what was entered last in this context: a handler's other tasks and threads have theirs."""
    for token in reversed([*tokens]):
        with contextlib.suppress(ValueError):
            targets.reset(token)
            tokens.remove(token)
            return
    tokens.pop()  # entered in a context that is another's, and ends with it


def _redirect(manager: Any) -> tuple[_Targets, Any]:
    return {manager._stream: manager._new_target}, manager._new_target


def _capture(manager: Any) -> tuple[_Targets, Any]:
    out = StringIO() if manager.stdout else None
    err = StringIO() if manager.stderr else None
    shown: list[Any] | None = [] if manager.display else None
    wanted = {"stdout": out, "stderr": err, "display": shown}
    return {name: one for name, one in wanted.items() if one is not None}, CapturedIO(out, err, shown)


def _into_widget(widget: Any) -> tuple[_Targets, Any]:
    """Redirect into an `Output` widget; as it is, it has the browser move what the newest cell shows there.

    What is raised goes through it to the handler, whose failure would be hidden in it.
    """
    texts = {name: _WidgetText(widget, name) for name in ("stdout", "stderr")}
    return {**texts, "display": _WidgetDisplays(widget)}, None


class _WidgetText:
    """A stream into an `Output` widget, line by line: the widget sends all that it has each time."""

    def __init__(self, widget: Any, name: str) -> None:
        self._widget = widget
        self._name = name
        self._line = ""

    def write(self, text: str) -> int:
        """Take text; it is shown up to its last newline."""
        whole, newline, self._line = (self._line + text).rpartition("\n")
        if newline:
            self._show(whole + newline)
        return len(text)

    def flush(self) -> None:
        """Show the unfinished line."""
        line, self._line = self._line, ""
        if line:
            self._show(line)

    def _show(self, text: str) -> None:
        self._widget.outputs += ({"output_type": "stream", "name": self._name, "text": text},)


class _WidgetDisplays:
    """Displays into an `Output` widget."""

    def __init__(self, widget: Any) -> None:
        self._widget = widget

    def append(self, shown: dict[str, Any]) -> None:
        """Show one display."""
        self._widget.outputs += ({"output_type": "display_data", **shown},)


def streams() -> list[tuple[str, Any]]:
    """Return the present streams by name."""
    return [("stdout", sys.stdout), ("stderr", sys.stderr)]


def own_streams(kernel: Any) -> list[tuple[str, Any]]:
    """Return the streams of a kernel by name, also where a capture is in their place now.

    Args:
        kernel: None in a terminal.
    """
    return [(name, _own_stream(name, present, kernel)) for name, present in streams()]


def _own_stream(name: str, present: Any, kernel: Any) -> Any:
    original = getattr(sys, f"__{name}__")
    kernels = getattr(sys.modules.get("ipykernel.iostream"), "OutStream", None)
    if kernel is None or kernels is None:
        return original if isinstance(present, StringIO) and original is not None else present
    # Not every ipykernel keeps its streams, but their threads that read the descriptors do.
    targets_of_threads = [getattr(thread, "_target", None) for thread in threading.enumerate()]
    readers = [getattr(target, "__self__", None) for target in targets_of_threads]
    known = (present, getattr(kernel, f"_{name}", None), original, *readers)
    return next((one for one in known if isinstance(one, kernels) and one.name == name), present)
