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


def test_two_who_follow_records_count_the_same_writes():
    counts = []

    class Stream:
        def write(self, text):
            if (emission := current_emission.get()) is not None:
                emission.written += 1

        def flush(self):
            pass

    logger = logging.Logger("two")
    logger.addHandler(logging.StreamHandler(Stream()))
    undo = [follow_records(lambda _, emission: counts.append(emission.written)) for _ in range(2)]
    logger.warning("once")
    for one in reversed(undo):
        one()
    assert len(counts) == 2
    assert counts[0] == counts[1] > 0
