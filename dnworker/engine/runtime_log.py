"""The runtime's own log: a bounded ring of records, which clients read by cursor (contract 6.7)."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from sys import getsizeof

from dnworker.core.limits import Limits
from dnworker.core.models import LogPage, LogRecord
from dnworker.core.text import shorten, valid_text

RECORDS_KEPT = 2_000
MESSAGE_LENGTH = 8_192
RECORD_OVERHEAD = 500
"""Records, characters of a message, and bytes of a record beside its message."""

SOURCE_LENGTH = 200

LEVELS = {"trace": 5, "debug": 10, "info": 20, "success": 25, "warning": 30, "error": 40, "critical": 50}


class RuntimeLog(logging.Handler):
    """Keeps the newest records of the framework's loggers and of its workers.

    Args:
        limit: bytes that the records may take.
    """

    def __init__(self, limit: int = Limits().log // 4) -> None:
        super().__init__()
        self.instance_id = uuid.uuid4().hex
        self._records: deque[LogRecord] = deque()
        self._limit = limit
        self._latest = 0
        self.used = 0
        """Bytes that the records take."""
        self.dropped = 0
        """Records that are not kept any more."""
        self._keeping = threading.RLock()  # a finalizer that runs while it is held may log, too

    def add(self, source: str, text: str, level: str = "info") -> None:
        """Keep one record; a long message is cut and marked."""
        name = level if level in LEVELS else "info"
        message = valid_text(text[:MESSAGE_LENGTH])
        timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        with self._keeping:  # workers log from threads
            self._latest += 1
            self._records.append(
                LogRecord(
                    sequence=self._latest,
                    timestamp=timestamp,
                    level=name.upper(),
                    level_no=LEVELS[name],
                    source=shorten(source, SOURCE_LENGTH),
                    message=message,
                    truncated=len(text) > MESSAGE_LENGTH,
                )
            )
            self.used += _bytes_of(self._records[-1])
            while len(self._records) > RECORDS_KEPT or (self.used > self._limit and len(self._records) > 1):
                self.used -= _bytes_of(self._records.popleft())
                self.dropped += 1

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record of Python's logging."""
        try:
            self.add(record.name, record.getMessage(), record.levelname.lower())
        except Exception:  # a record with wrong arguments: logging has its own way to say so
            self.handleError(record)

    def page(
        self,
        *,
        after: int | None = None,
        instance_id: str | None = None,
        limit: int = 100,
        level: str = "debug",
        text: str = "",
    ) -> LogPage:
        """Return up to `limit` records newer than `after`, at or over `level`, whose message has `text`.

        Without `after`, the newest ones.
        """
        ahead = after is not None and after > self._latest
        reset = ahead or (instance_id is not None and instance_id != self.instance_id)
        start = None if reset else after
        wanted = [
            r
            for r in list(self._records)
            if (start is None or r.sequence > start)
            and r.level_no >= LEVELS[level]
            and text.lower() in r.message.lower()
        ]
        shown = wanted[-limit:] if start is None else wanted[:limit]
        cut = start is not None and len(wanted) > limit
        oldest = self._records[0].sequence if self._records else 1
        return LogPage(
            instance_id=self.instance_id,
            next_cursor=shown[-1].sequence if cut else self._latest,
            reset=reset,
            gap=start is not None and start < oldest - 1,
            entries=shown,
        )

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listen to the framework's loggers meanwhile."""
        logger = logging.getLogger("dnworker")
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)


def _bytes_of(record: LogRecord) -> int:
    return RECORD_OVERHEAD + getsizeof(record.message)
