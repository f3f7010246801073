"""`EventReader`: brings every event of the stream to this runtime, in the one order that all runtimes see."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from dnworker.core.errors import Invalid
from dnworker.events.brokers.jetstream.api import Away
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.jetstream.events import Read, read_event
from dnworker.events.brokers.jetstream.pulling import Raw, StreamReader, after

log = logging.getLogger("dnworker.broker")


class EventReader:
    """Reads the stream from its newest event on, and says what of it is gone.

    Args:
        connected: the server.
        deliver: called with each event.
        lost: called, once, where the stream is not the one that it was: its events are gone.
    """

    def __init__(
        self, connected: Connected, deliver: Callable[[Read], None], lost: Callable[[str], None]
    ) -> None:
        self._connected = connected
        self._deliver = deliver
        self._lost = lost
        self.created = connected.events.created
        """When the stream was made that is read."""
        self.seq = connected.events.last_seq
        """The number of the newest event that was delivered here."""
        self._is_lost = False
        names = connected.names
        self.stream = StreamReader(
            connected.api,
            names.events,
            [names.all_events],
            "events reader",
            begin=self._begin,
            take=self._take,
        )

    async def _begin(self) -> dict[str, Any]:
        """Return where to go on, once it is sure that the stream is the one that it was."""
        names, where = self._connected.names, self._connected.settings.address
        info = await self._connected.api.info(names.events)
        if info is None:
            raise Away(
                f"the stream {names.events} is not there: {where} has lost it, or does not have it yet",
                code="DN805",
            )
        if info.created != self.created:
            self._note_lost(
                f"the stream {names.events} at {where} was made anew at {info.created}: the events of the "
                "one before are gone; restart this node to begin with the new one"
            )
        elif info.last_seq < self.seq:
            self._note_lost(
                f"the stream {names.events} at {where} has lost its newest events: {info.last_seq} is its "
                f"last, {self.seq} was delivered here; restart this node to go on with what is there"
            )
        if self._is_lost:
            raise Away("the stream is not the one that it was", code="DN805")
        if info.first_seq > self.seq + 1:
            self._skip(info.first_seq)
        return after(self.seq)

    def _note_lost(self, problem: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            log.critical("%s", problem)
            self._lost(problem)

    def _skip(self, first: int) -> None:
        log.error(
            "events %d to %d are gone before this node has read them: too old, too many, or purged",
            self.seq + 1,
            first - 1,
        )
        self.seq = first - 1

    def _take(self, raw: Raw) -> None:
        if raw.seq <= self.seq or self._is_lost:
            return
        if raw.seq > self.seq + 1:
            self._skip(raw.seq)
        try:
            read = read_event(raw.data, raw.headers, raw.seq)
        except Invalid as exc:
            log.error("event %d of the stream cannot be read, and is left out: %s", raw.seq, exc)
        else:
            self._deliver(read)
        finally:
            self.seq = raw.seq  # not before: a consumer that is closed by a tap has not had the event
