"""The runtime's own log: a bounded ring of records, which clients read by cursor (contract 6.7)."""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from dnworker.core.models import LogPage, LogRecord
from dnworker.core.text import valid_text

RECORDS_KEPT = 2_000
MESSAGE_LENGTH = 8_192

LEVELS = {"trace": 5, "debug": 10, "info": 20, "success": 25, "warning": 30, "error": 40, "critical": 50}


class RuntimeLog(logging.Handler):
    """Keeps the newest records of the framework's loggers and of its workers."""

    def __init__(self) -> None:
        super().__init__()
        self.instance_id = uuid.uuid4().hex
        self._records: deque[LogRecord] = deque(maxlen=RECORDS_KEPT)
        self._latest = 0

    def add(self, source: str, text: str, level: str = "info") -> None:
        """Keep one record; a long message is cut and marked."""
        self._latest += 1
        name = level if level in LEVELS else "info"
        self._records.append(
            LogRecord(
                sequence=self._latest,
                timestamp=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
                level=name.upper(),
                level_no=LEVELS[name],
                source=source,
                message=valid_text(text[:MESSAGE_LENGTH]),
                truncated=len(text) > MESSAGE_LENGTH,
            )
        )

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
            for r in self._records
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
