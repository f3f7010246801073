"""`JetStreamReports`: the log of reports of a namespace, in a stream of its own; a part of the broker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from dnworker.core.errors import BrokerError, NotStored
from dnworker.core.ids import new_id
from dnworker.events.brokers.jetstream.api import Away, nanoseconds
from dnworker.events.brokers.jetstream.connecting import Connected, ensure
from dnworker.events.brokers.jetstream.pulling import Raw, StreamReader, after
from dnworker.events.brokers.messages import REPORTS_KEPT_BYTES, REPORTS_KEPT_SECONDS

log = logging.getLogger("dnworker.broker")

MESSAGE_ID = "Nats-Msg-Id"

DUPLICATE_SECONDS = 120.0
"""Seconds for which the server knows what was added: an attempt that is repeated adds nothing."""

SHARE = 4
"""What part of the bytes of the events' stream reports may take, where that is less than they may."""


class JetStreamReports:
    """Adds reports to the stream, and gives all of them to who follows, from those of its opening on.

    Args:
        connected: the server.
    """

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        names = connected.names
        self.stream = names.reports
        self._subject = names.all_reports
        self._seq = 0
        """The number of the newest report that was given."""
        self._created = ""
        self._last: tuple[bytes, str] = b"", ""
        self._followers: dict[object, Callable[[bytes], None]] = {}
        self.reader = StreamReader(
            connected.api,
            self.stream,
            [self._subject],
            "reports reader",
            begin=self._begin,
            take=self._take,
        )

    async def open(self) -> None:
        """Find or make the stream, and read on from its newest report.

        Raises:
            BrokerError: the server does not keep it.
        """
        info = await ensure(self._connected, self._config(), keep="reports")
        self._created, self._seq = info.created, info.last_seq
        self.reader.start()

    async def close(self) -> None:
        """Give nothing more."""
        self._followers.clear()
        await self.reader.close()

    async def add(self, data: bytes) -> None:
        """Add a report, of `REPORT_BYTES` at most; return once the server has it.

        One that is added again, as its answer was lost, is there once.

        Raises:
            NotStored: the server is away, or refuses it.
        """
        if self._last[0] != data:
            self._last = data, new_id()
        try:
            await self._connected.api.request(self._subject, data, {MESSAGE_ID: self._last[1]})
        except BrokerError as exc:
            raise NotStored(f"a report is not kept: {exc}") from exc

    def follow(self, on_report: Callable[[bytes], None]) -> Callable[[], None]:
        """Call `on_report` with every report from now on, in the order of the log; returns what ends it."""
        name = object()
        self._followers[name] = on_report

        def end() -> None:
            self._followers.pop(name, None)

        return end

    def _config(self) -> dict[str, Any]:
        settings = self._connected.settings
        return {
            "name": self.stream,
            "subjects": [self._subject],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "max_age": nanoseconds(REPORTS_KEPT_SECONDS),
            "max_bytes": min(REPORTS_KEPT_BYTES, max(settings.max_bytes // SHARE, 1_000_000)),
            "duplicate_window": nanoseconds(DUPLICATE_SECONDS),
        }

    async def _begin(self) -> dict[str, Any]:
        """Return where to go on; a stream that is gone is made anew, and read from its beginning."""
        info = await self._connected.api.info(self.stream)
        if info is None:
            log.warning("the stream %s is gone; it is made anew", self.stream)
            info = await ensure(self._connected, self._config(), keep="reports")
        if info.created != self._created or info.last_seq < self._seq:
            self._created, self._seq = info.created, 0
        if self._connected.is_closing:
            raise Away("the broker is closing")
        return after(max(self._seq, info.first_seq - 1))

    def _take(self, raw: Raw) -> None:
        if raw.seq <= self._seq:
            return
        self._seq = raw.seq  # a gap is of reports that were too old or too many: who reads them sees that
        for on_report in [*self._followers.values()]:
            try:
                on_report(raw.data)
            except Exception:
                log.exception("what follows the reports has failed")
