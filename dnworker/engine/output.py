"""Copies what in-process workers print into the log of their worker; used by `serve` and checks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.log_records import current_emission, follow_records
from dnworker.engine.invocation_lines import InvocationLines

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine


class _Write:
    """The `write` of a stream, which also adds what a handler writes to the log, line by line."""

    def __init__(self, stream: Any, name: str, lines: InvocationLines) -> None:
        self._inner = stream.write
        self._name = name
        self._lines = lines

    def __call__(self, text: str) -> int:
        written: int = self._inner(text)
        if (invocation := current_invocation.get()) is not None:
            emission = current_emission.get()
            source, level = (self._name, "info") if emission is None else ("log", emission.level)
            self._lines.add(invocation, source, text, level=level)
        return written


@contextmanager
def kept_output(engine: Engine) -> Iterator[None]:
    """Copy what handlers print and log into the log while the block runs."""

    def keep(invocation: Invocation, source: str, level: str, line: str) -> None:
        engine.log_line(invocation.worker, line, source=source, level=level, invocation=invocation)

    def follow(invocation: Invocation) -> None:
        if invocation.outcome != "running":
            lines.end(invocation)

    lines = InvocationLines(keep)
    with ExitStack() as undo:
        undo.callback(follow_records(lambda record, emission: None))
        undo.callback(engine.history.listen(follow))
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # it was closed, as by `>&-`
                continue
            stream.write = _Write(stream, name, lines)
            # On the instance: a log handler that holds the stream already is followed too.
            undo.callback(stream.__dict__.pop, "write", None)
        yield
