"""Tells whoever captures output which level a line written by `logging` has."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from typing import Any

import msgspec


class Emission(msgspec.Struct):
    """A record that is being written: its level in lower case, how many writes of it were seen, itself."""

    level: str
    written: int = 0
    record: logging.LogRecord | None = None


current_emission: contextvars.ContextVar[Emission | None] = contextvars.ContextVar(
    "dnworker_emission", default=None
)
"""The record that is being written here; None outside of `logging`."""


def follow_records(done: Callable[[logging.LogRecord, Emission], None]) -> Callable[[], None]:
    """Set `current_emission` while `logging` hands a record to its handlers; returns what ends it.

    Args:
        done: called with each record after all handlers had it; it may have reached no stream.
    """
    original = logging.Logger.callHandlers

    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> Any:
        emission = current_emission.get()
        if emission is None or emission.record is not record:  # else somebody else follows it, too
            emission = Emission(record.levelname.lower(), record=record)
        token = current_emission.set(emission)
        try:
            original(logger, record)
        finally:
            current_emission.reset(token)
        done(record, emission)

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign,assignment]

    def undo() -> None:
        if logging.Logger.callHandlers is call_handlers:
            logging.Logger.callHandlers = original  # type: ignore[method-assign]

    return undo
