"""`OutputRouter`: sends what handlers print and display to their worker's log, and never into a cell.

The two stream objects stay where they are and get another class: a logging handler, a loguru sink or a rich
console made earlier holds the same objects, and is routed too. `write` is a property there, because IPython
sets and restores `write` on the instance around every cell, and a property of the class comes first.
Threads that a handler starts print on its behalf; a pool's threads on behalf of whoever submitted.
"""

from __future__ import annotations

import concurrent.futures.thread
import functools
import logging
import sys
import threading
from collections.abc import Callable, Hashable
from typing import Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.display import display

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.log_records import Emission, current_emission, follow_records
from dnworker.engine.engine import Engine
from dnworker.engine.invocation_lines import InvocationLines
from dnworker.engine.unhandled import start_on_behalf
from dnworker_jupyter.kernel import redirects
from dnworker_jupyter.kernel.child_output import ChildOutput, in_child, write_in_child
from dnworker_jupyter.kernel.descriptors import Descriptors
from dnworker_jupyter.kernel.displays import Displays
from dnworker_jupyter.kernel.figures import Figures
from dnworker_jupyter.kernel.patching import replace

_INNER = "_dnworker_inner_write"
_ROUTED = "_dnworker_routed"


class OutputRouter:
    """Routes what one runtime's handlers print and display; install it once, uninstall it at the end."""

    def __init__(self, engine: Engine, shell: Any) -> None:
        self._engine = engine
        self._shell = shell
        self._lines = InvocationLines(self._keep_line)
        self._children = ChildOutput(self._take_of_child)
        self._descriptors = Descriptors(engine, shell, self._lines.add)
        self._displays = Displays(engine)
        self._figures = Figures(_display_figure)
        self._stubborn: list[tuple[str, Any]] = []
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Route from now on."""
        kernel = getattr(self._shell, "kernel", None)
        self._undo = [self._patch(stream, name) for name, stream in redirects.own_streams(kernel)]
        self._undo += self._hold_original_streams()
        self._undo.append(self._engine.history.listen(self._follow))
        self._undo += redirects.install(self.guard_streams)
        self._undo.append(follow_records(self._take_record))
        self._undo.append(replace(threading.Thread, "start", start_on_behalf))
        pool = concurrent.futures.thread.ThreadPoolExecutor
        self._undo.append(replace(pool, "submit", _submit_on_behalf))
        for publisher in {type(self._shell.display_pub), CapturingDisplayPublisher}:
            self._undo.append(replace(publisher, "publish", self._routed_publish))
            self._undo.append(replace(publisher, "clear_output", self._routed_clear))
        self._undo.append(replace(self._shell, "_showtraceback", self._routed_traceback))
        self._undo += self._children.install()
        self._undo += self._descriptors.install()
        self._undo.append(self._figures.install())

    def uninstall(self) -> None:
        """Restore everything."""
        for undo in reversed(self._undo):
            undo()
        self._undo = []
        self._stubborn = []

    def guard_streams(self) -> None:
        """Route handlers' text past what has replaced a stream, such as a cell's buffer."""
        for name, stream in self._stubborn:
            self._hold(name, stream)
        for name, stream in redirects.streams():
            if stream is not None and not getattr(stream, _ROUTED, False):
                setattr(sys, name, _Guarded(stream, self, name))

    def _hold(self, name: str, stream: Any) -> None:
        """Replace the `write` of a stream's instance, again after IPython has restored the one before."""
        if not isinstance(stream.__dict__.get("write"), Write):
            stream.write = Write(self, name, stream.write)

    def _hold_original_streams(self) -> list[Callable[[], None]]:
        """Route what handlers write to `sys.__stdout__` and `sys.__stderr__`, which lead into a cell, too."""
        undo: list[Callable[[], None]] = []
        for name in ("stdout", "stderr"):
            stream = getattr(sys, f"__{name}__")
            if hasattr(stream, "__dict__") and not getattr(stream, _ROUTED, False):
                setattr(stream, _ROUTED, True)
                self._hold(name, stream)
                undo.append(functools.partial(_release, stream))
        return undo

    # -- text ------------------------------------------------------------------------------------------

    def _patch(self, stream: Any, name: str) -> Callable[[], None]:
        original = type(stream)
        earlier = stream.__dict__.pop("write", None)
        try:
            stream.__class__ = _routed(original, self, name)
        except TypeError:  # a stream of the terminal, whose class cannot be changed
            if earlier is not None:
                stream.write = earlier
            setattr(stream, _ROUTED, True)
            self._stubborn.append((name, stream))
            self._hold(name, stream)
            return lambda: _release(stream)
        if earlier is not None:
            stream.write = earlier

        def undo() -> None:
            inner = stream.__dict__.pop(_INNER, None)
            stream.__class__ = original
            if inner is not None:
                stream.write = inner

        return undo

    def take(self, invocation: Invocation, name: str, text: str) -> None:
        """Put what a handler wrote where it wants it, else into its worker's log, line by line."""
        emission = current_emission.get()
        if emission is not None:
            emission.written += 1
        wanted = (redirects.targets.get() or {}).get(name)
        if wanted is not None:
            wanted.write(text)
            return
        if in_child():
            write_in_child(name, text)
            return
        self._children.drain(invocation)
        if emission is None:
            self._lines.add(invocation, name, text)
        else:
            self._lines.add(invocation, "log", text, level=emission.level)

    def take_unowned(self, name: str, text: str) -> bool:
        """Take text that no handler writes here; returns False where it goes on into the cell."""
        if in_child():
            write_in_child(name, text)
            return True
        return self._descriptors.take(name, text)

    def _take_of_child(
        self, invocation: Invocation, name: str, text: str, writer: Hashable, is_all: bool
    ) -> None:
        self._lines.add(invocation, name, text, writer=writer)
        if is_all:
            self._lines.end(invocation, writer)

    def _keep_line(self, invocation: Invocation, source: str, level: str, line: str) -> None:
        self._engine.log_line(invocation.worker, line, source=source, level=level, invocation=invocation)

    def _take_record(self, record: logging.LogRecord, emission: Emission) -> None:
        """Keep a log record of a handler that reached no stream: a file's handler, or none, had it alone."""
        invocation = current_invocation.get()
        if invocation is None or emission.written:
            return
        text = f"{record.levelname} {record.name}: {record.getMessage()}"
        if in_child():
            write_in_child("stderr", f"{text}\n")
            return
        for line in text.splitlines():
            self._keep_line(invocation, "log", record.levelname.lower(), line)

    def _follow(self, invocation: Invocation) -> None:
        self._descriptors.follow(invocation)
        if invocation.outcome == "running":
            self.guard_streams()
            return
        self._figures.end(invocation)
        self._children.drain(invocation)
        self._lines.end(invocation)

    # -- displays --------------------------------------------------------------------------------------

    def _routed_publish(self, original: Any) -> Any:
        @functools.wraps(original)
        def publish(publisher: Any, data: Any, *args: Any, **fields: Any) -> Any:
            invocation = current_invocation.get()
            display_id = (fields.get("transient") or {}).get("display_id")
            if invocation is None:
                if fields.get("update"):
                    self._displays.update(data, display_id)
                return original(publisher, data, *args, **fields)
            captured = (redirects.targets.get() or {}).get("display")
            if captured is not None:
                captured.append(
                    {"data": data, "metadata": fields.get("metadata") or (args[0] if args else {})}
                )
            elif in_child():
                write_in_child("stdout", f"{data.get('text/plain', ', '.join(data))}\n")
            elif not fields.get("update"):
                self._displays.take(invocation, data, display_id)
            elif not self._displays.update(data, display_id):
                # It is a cell's: an update puts nothing into another cell.
                return original(publisher, data, *args, **fields)
            return None

        return publish

    def _routed_clear(self, original: Any) -> Any:
        @functools.wraps(original)
        def clear_output(publisher: Any, *args: Any, **fields: Any) -> Any:
            # A handler has no output of its own to clear, and a cell's is not its.
            return original(publisher, *args, **fields) if current_invocation.get() is None else None

        return clear_output

    def _routed_traceback(self, original: Any) -> Any:
        @functools.wraps(original)
        def show(etype: Any, evalue: Any, stb: Any) -> Any:
            invocation = current_invocation.get()
            if invocation is None:
                return original(etype, evalue, stb)
            # What IPython shows for a handler, as where a `_repr_html_` raises.
            self.take(invocation, "stderr", "\n".join(stb) + "\n")
            return None

        return show


def _display_figure(figure: Any, metadata: dict[str, Any] | None) -> None:
    display(figure, metadata=metadata)


class Write:
    """The `write` of a routed stream: a handler's text goes to its log, any other to `inner`."""

    def __init__(self, router: OutputRouter, name: str, inner: Callable[..., Any]) -> None:
        self.inner = inner
        self._router = router
        self._name = name

    def __call__(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        invocation = current_invocation.get()
        if not isinstance(text, str):
            return self.inner(text, *args, **kwargs)
        if invocation is None:
            if self._router.take_unowned(self._name, text):
                return len(text)
            return self.inner(text, *args, **kwargs)
        self._router.take(invocation, self._name, text)
        return len(text)


class _Guarded:
    """Wraps a cell's buffer: everything goes to the buffer, except handlers' text."""

    def __init__(self, target: Any, router: OutputRouter, name: str) -> None:
        self._target = target
        self.write = Write(router, name, target.write)
        setattr(self, _ROUTED, True)

    def writelines(self, lines: Any) -> None:
        """Write them one by one."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __iter__(self) -> Any:
        return iter(self._target)


def _routed(base: type, router: OutputRouter, name: str) -> type:
    """Return a subclass of a stream's class that routes what is written."""

    def get(self: Any) -> Write:
        inner = self.__dict__.get(_INNER) or base.write.__get__(self)  # type: ignore[attr-defined]
        return Write(router, name, inner)

    def put(self: Any, write: Any) -> None:
        # Code that restores what it read here must restore the `write` beneath ours.
        self.__dict__[_INNER] = write.inner if isinstance(write, Write) else write

    return type(
        base.__name__, (base,), {"write": property(get, put), "__module__": base.__module__, _ROUTED: True}
    )


def _release(stream: Any) -> None:
    write = stream.__dict__.pop("write", None)
    if write is not None and not isinstance(write, Write):
        stream.write = write
    stream.__dict__.pop(_ROUTED, None)


def _submit_on_behalf(original: Any) -> Any:
    def submit(pool: Any, function: Any, /, *args: Any, **fields: Any) -> Any:
        invocation = current_invocation.get()
        if invocation is not None:
            function = functools.partial(_call_on_behalf, invocation, function)
        return original(pool, function, *args, **fields)

    return submit


def _call_on_behalf(invocation: Invocation, function: Any, *args: Any, **fields: Any) -> Any:
    token = current_invocation.set(invocation)
    try:
        return function(*args, **fields)
    finally:
        current_invocation.reset(token)
