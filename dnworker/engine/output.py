"""Copies what in-process workers print into the log of their worker.

`serve` does so, checks do, and `Runtime.capture_output` for programs.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.log_records import current_emission, follow_records
from dnworker.engine.invocation_lines import InvocationLines

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine


ENDED_KEPT = 10_000
"""Invocations that have ended, and whose tasks and threads may still write."""


class _Own:
    """The invocations of one engine: another one in this process has a log of its own."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._ended: deque[str] = deque()

    def __contains__(self, invocation: Invocation) -> bool:
        return invocation.id in self._ids

    def note(self, invocation: Invocation) -> None:
        """Note that it has begun, or ended."""
        self._ids.add(invocation.id)
        if invocation.outcome != "running":
            self._ended.append(invocation.id)
            if len(self._ended) > ENDED_KEPT:
                self._ids.discard(self._ended.popleft())


class _Write:
    """The `write` of a stream, which also adds what a handler writes to the log, line by line."""

    def __init__(self, stream: Any, name: str, lines: InvocationLines, own: _Own) -> None:
        self._stream = stream
        self._before = stream.__dict__.get("write")
        self._inner = stream.write
        self._name = name
        self._lines = lines
        self._own: _Own | None = own

    def undo(self) -> None:
        """Give the stream its former `write`; where another one was put over this, only pass text on."""
        self._own = None
        if self._stream.__dict__.get("write") is not self:
            return
        before = self._before
        while isinstance(before, _Write) and before._own is None:
            before = before._before
        if before is None:
            del self._stream.write
        else:
            self._stream.write = before

    def __call__(self, text: str) -> int:
        written: int = self._inner(text)
        invocation = current_invocation.get()
        if invocation is not None and self._own is not None and invocation in self._own:
            emission = current_emission.get()
            source, level = (self._name, "info") if emission is None else ("log", emission.level)
            self._lines.add(invocation, source, text, level=level)
        return written


@contextmanager
def kept_output(engine: Engine) -> Iterator[None]:
    """Copy what the engine's handlers print and log into its log while the block runs."""

    def keep(invocation: Invocation, source: str, level: str, line: str) -> None:
        engine.log_line(invocation.worker, line, source=source, level=level, invocation=invocation)

    def follow(invocation: Invocation) -> None:
        own.note(invocation)
        if invocation.outcome != "running":
            lines.end(invocation)

    lines, own = InvocationLines(keep), _Own()
    with ExitStack() as undo:
        undo.callback(follow_records(lambda record, emission: None))
        undo.callback(engine.history.listen(follow))
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # it was closed, as by `>&-`
                continue
            # On the instance: a log handler that holds the stream already is followed too.
            stream.write = write = _Write(stream, name, lines, own)
            undo.callback(write.undo)
        yield
