"""The level of a log record, for the lines that its handlers write while they have it."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from typing import Any

current_level: contextvars.ContextVar[str | None] = contextvars.ContextVar("dnworker_level", default=None)
"""The level of the record that is being written here, in lower case; None outside of `logging`."""


def follow_records(missed: Callable[[logging.LogRecord], None]) -> Callable[[], None]:
    """Set `current_level` while `logging` hands a record to its handlers; returns what ends it.

    Args:
        missed: called with a record after it was handed out; it may have reached no stream.
    """
    original = logging.Logger.callHandlers

    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> Any:
        token = current_level.set(record.levelname.lower())
        try:
            original(logger, record)
            missed(record)
        finally:
            current_level.reset(token)

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign,assignment]

    def undo() -> None:
        if logging.Logger.callHandlers is call_handlers:
            logging.Logger.callHandlers = original  # type: ignore[method-assign]

    return undo
