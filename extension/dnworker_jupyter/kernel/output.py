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
from collections.abc import Callable
from typing import Any

from IPython.core.displaypub import CapturingDisplayPublisher

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.log_records import Emission, current_emission, follow_records
from dnworker.core.text import LineSplitter
from dnworker.engine.engine import Engine
from dnworker.engine.unhandled import start_on_behalf
from dnworker_jupyter.kernel import redirects
from dnworker_jupyter.kernel.patching import replace

_INNER = "_dnworker_inner_write"
_ROUTED = "_dnworker_routed"

DISPLAY_KEPT = 2_000_000
"""Characters of one displayed thing that the log keeps beside its text."""

_KEPT_FORMS = ("text/plain", "image/png", "image/jpeg", "image/svg+xml", "text/markdown", "application/json")


class OutputRouter:
    """Routes what one runtime's handlers print and display; install it once, uninstall it at the end."""

    def __init__(self, engine: Engine, shell: Any) -> None:
        self._engine = engine
        self._shell = shell
        self._lines = LineSplitter()
        self._stubborn: list[tuple[str, Any]] = []
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Route from now on."""
        self._undo = [self._patch(stream, name) for name, stream in redirects.streams()]
        self._undo.append(self._engine.history.listen(self._follow))
        self._undo += redirects.install(self.guard_streams)
        self._undo.append(follow_records(self._take_record))
        self._undo.append(replace(threading.Thread, "start", start_on_behalf))
        pool = concurrent.futures.thread.ThreadPoolExecutor
        self._undo.append(replace(pool, "submit", _submit_on_behalf))
        for publisher in {type(self._shell.display_pub), CapturingDisplayPublisher}:
            self._undo.append(replace(publisher, "publish", self._routed_publish))
            self._undo.append(replace(publisher, "clear_output", self._routed_clear))

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
        wanted = (redirects.targets.get() or {}).get(name)
        if wanted is not None:
            wanted.write(text)
            return
        emission = current_emission.get()
        if emission is not None:
            emission.written += 1
        level = None if emission is None else emission.level
        source = name if level is None else "log"
        is_last = invocation.outcome != "running"  # something that it started, and left behind
        for line in self._lines.add((invocation.id, source), text, is_last=is_last):
            self._engine.log_line(
                invocation.worker,
                line,
                source=source,
                level=level or "info",
                invocation=invocation,
            )

    def _take_record(self, record: logging.LogRecord, emission: Emission) -> None:
        """Keep a log record of a handler that reached no stream: a file's handler, or none, had it alone."""
        invocation = current_invocation.get()
        if invocation is None or emission.written:
            return
        text = f"{record.levelname} {record.name}: {record.getMessage()}"
        for line in text.splitlines():
            self._engine.log_line(
                invocation.worker, line, source="log", level=record.levelname.lower(), invocation=invocation
            )

    def _follow(self, invocation: Invocation) -> None:
        if invocation.outcome == "running":
            self.guard_streams()
            return
        for source in ("stdout", "stderr", "log"):
            for line in self._lines.end((invocation.id, source)):
                self._engine.log_line(invocation.worker, line, source=source, invocation=invocation)

    # -- displays --------------------------------------------------------------------------------------

    def _routed_publish(self, original: Any) -> Any:
        @functools.wraps(original)
        def publish(publisher: Any, data: Any, *args: Any, **fields: Any) -> Any:
            invocation = current_invocation.get()
            if invocation is None:
                return original(publisher, data, *args, **fields)
            captured = (redirects.targets.get() or {}).get("display")
            if captured is not None:
                captured.append(
                    {"data": data, "metadata": fields.get("metadata") or (args[0] if args else {})}
                )
            else:
                self._take_display(invocation, data)
            return None

        return publish

    def _routed_clear(self, original: Any) -> Any:
        @functools.wraps(original)
        def clear_output(publisher: Any, *args: Any, **fields: Any) -> Any:
            # A handler has no output of its own to clear, and a cell's is not its.
            return original(publisher, *args, **fields) if current_invocation.get() is None else None

        return clear_output

    def _take_display(self, invocation: Invocation, data: dict[str, Any]) -> None:
        """Make one entry of the log of what a handler displays: text, and what else can be shown safely."""
        kept = {kind: data[kind] for kind in _KEPT_FORMS if kind in data}
        if sum(len(str(value)) for value in kept.values()) > DISPLAY_KEPT:
            kept = {}
        text = str(data.get("text/plain", "")) or f"({', '.join(data) or 'nothing'})"
        self._engine.log_line(
            invocation.worker, text, source="display", data=kept or None, invocation=invocation
        )


class Write:
    """The `write` of a routed stream: a handler's text goes to its log, any other to `inner`."""

    def __init__(self, router: OutputRouter, name: str, inner: Callable[..., Any]) -> None:
        self.inner = inner
        self._router = router
        self._name = name

    def __call__(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        invocation = current_invocation.get()
        if invocation is None or not isinstance(text, str):
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
