"""`Recorder`: the interface a runner reports each invocation to; `LoggingRecorder` is for standalone use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from dnworker.core.handler_error import describe
from dnworker.core.invocation import Invocation

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope

log = logging.getLogger("dnworker.runner")


class Recorder(Protocol):
    """Is notified of each invocation. `History` is one; a worker process has one that logs."""

    def begin(self, invocation: Invocation) -> None:
        """Note that it is under way."""

    def end(
        self, invocation: Invocation, exc: BaseException | None = None, *, cancelled: bool = False
    ) -> None:
        """Note how it ended."""

    def delivered(self, envelope: EventEnvelope) -> None:
        """Note that all invocations of the event have begun."""

    def hint(self, invocation: Invocation, text: str) -> None:
        """Note what its handler does in vain; it has no bearing on how it ends."""


class LoggingRecorder:
    """Logs what handlers raise; for workers that run as a process of their own."""

    def begin(self, invocation: Invocation) -> None:
        """Nothing to do."""

    def end(
        self, invocation: Invocation, exc: BaseException | None = None, *, cancelled: bool = False
    ) -> None:
        """Log a failure with the user's frames."""
        invocation.end("error" if exc else "cancelled" if cancelled else "ok", describe(exc) if exc else None)
        log_failure(invocation)

    def delivered(self, envelope: EventEnvelope) -> None:
        """Nothing to do."""

    def hint(self, invocation: Invocation, text: str) -> None:
        """Log it."""
        log_hint(invocation, text)


OnUnhandled = Callable[[Invocation, BaseException, str], object]
"""Is told what was raised outside of handlers by something (the text) that an invocation has started."""


def log_unhandled(invocation: Invocation, exc: BaseException, source: str) -> None:
    """Log what something that a handler started has raised."""
    log.error("%s: %s failed:\n%s", invocation.label, source, "\n".join(describe(exc).lines()))


def log_failure(invocation: Invocation) -> None:
    """Log what a handler raised, if it did, and the mistakes that were noticed in it."""
    if invocation.error is not None:
        lines = "\n".join(invocation.error.lines())
        log.error("%s (%s) failed:\n%s", invocation.label, invocation.cause, lines)
    for warning in invocation.warnings:
        log.warning("%s: %s", invocation.label, warning)


def log_hint(invocation: Invocation, text: str) -> None:
    """Log what a handler does in vain."""
    log.warning("%s: %s", invocation.label, text)
