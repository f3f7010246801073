"""Copies what in-process workers print into the log of their worker; used by `serve` and checks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.log_records import current_emission, follow_records
from dnworker.core.text import LineSplitter

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine


class _Write:
    """The `write` of a stream, which also adds what a handler writes to the log, line by line."""

    def __init__(self, engine: Engine, stream: Any, name: str) -> None:
        self._engine = engine
        self._inner = stream.write
        self._name = name
        self._lines = LineSplitter()

    def __call__(self, text: str) -> int:
        written: int = self._inner(text)
        if (invocation := current_invocation.get()) is not None:
            is_last = invocation.outcome != "running"  # something that it started, and left behind
            for line in self._lines.add(invocation.id, text, is_last=is_last):
                self._keep(invocation, line)
        return written

    def ended(self, invocation: Invocation) -> None:
        """Keep the unfinished line of an invocation that has ended."""
        if invocation.outcome != "running":
            for line in self._lines.end(invocation.id):
                self._keep(invocation, line)

    def _keep(self, invocation: Invocation, line: str) -> None:
        emission = current_emission.get()
        source, level = (self._name, "info") if emission is None else ("log", emission.level)
        self._engine.log_line(invocation.worker, line, source=source, level=level, invocation=invocation)


@contextmanager
def kept_output(engine: Engine) -> Iterator[None]:
    """Copy what handlers print and log into the log while the block runs."""
    with ExitStack() as undo:
        undo.callback(follow_records(lambda record, emission: None))
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # it was closed, as by `>&-`
                continue
            write = _Write(engine, stream, name)
            stream.write = write
            # On the instance: a log handler that holds the stream already is followed too.
            undo.callback(stream.__dict__.pop, "write", None)
            undo.callback(engine.history.listen(write.ended))
        yield
