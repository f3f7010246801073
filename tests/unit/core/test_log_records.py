"""What a log handler writes has the level of its record."""

from __future__ import annotations

import logging

from dnworker.core.log_records import current_emission, follow_records


class Noting(logging.Handler):
    def __init__(self):
        super().__init__()
        self.levels = []

    def emit(self, record):
        self.levels.append(current_emission.get().level)
        current_emission.get().written += 1


def test_a_record_is_current_while_its_handlers_write():
    done, logger, handler = [], logging.Logger("demo"), Noting()
    logger.addHandler(handler)
    undo = follow_records(lambda record, emission: done.append((record.levelname, emission.written)))
    try:
        logger.warning("x")
    finally:
        undo()
    assert (handler.levels, done, current_emission.get()) == (["warning"], [("WARNING", 1)], None)
