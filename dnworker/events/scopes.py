"""`Scopes`: what the bus keeps for replay, of the runtime's scope and of each session (contract 5.5)."""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec

from dnworker.core.envelope import EventEnvelope, encode
from dnworker.core.errors import Gone
from dnworker.core.limits import Limits
from dnworker.events.tombstones import Tombstones

SESSION_BUFFER = (500, 2_000_000)
RUNTIME_BUFFER = (50, 200_000)
"""Events and bytes kept for replay, per session and for the runtime scope."""


class ReplayBuffer:
    """The newest events of one scope, bounded by count and by size."""

    __slots__ = ("_events", "_max_bytes", "_max_events", "_newest", "used")

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._events: deque[tuple[EventEnvelope, int]] = deque()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._newest = 0
        self.used = 0
        """Bytes of JSON that are kept."""

    def __len__(self) -> int:
        return len(self._events)

    def append(self, envelope: EventEnvelope, size: int) -> None:
        """Keep `envelope`, dropping the oldest while count or size is over its bound."""
        self._newest = envelope.seq
        self._events.append((envelope, size))
        self.used += size
        while len(self._events) > self._max_events or self.used > self._max_bytes:
            self.drop_oldest()

    def fill(self, earlier: list[EventEnvelope]) -> None:
        """Keep events from before those that are here, in their order, as far as there is room."""
        for envelope in reversed(earlier):
            size = len(encode(envelope))
            if self._events and envelope.seq >= self._events[0][0].seq:
                continue  # it came while the earlier ones were read
            if len(self._events) >= self._max_events or self.used + size > self._max_bytes:
                break
            self._events.appendleft((envelope, size))
            self.used += size
            self.note_newest(envelope.seq)

    def note_newest(self, seq: int) -> None:
        """Note that the scope has had events up to this one, none of which is kept."""
        self._newest = max(self._newest, seq)

    def drop_oldest(self) -> None:
        """Forget the oldest event."""
        _, gone = self._events.popleft()
        self.used -= gone

    def after(self, seq: int | None) -> list[EventEnvelope]:
        """Return the kept events newer than `seq` (all for None), marked as replayed."""
        return [
            msgspec.structs.replace(envelope, replay=True)
            for envelope, _ in self._events
            if seq is None or envelope.seq > seq
        ]

    def bounds(self) -> tuple[int, int | None]:
        """Return the newest `seq` of the scope, 0 when it had no event, and the oldest that is kept.

        Where none is kept any more, the oldest is the one that may come next: who asks for earlier ones has
        missed some.
        """
        if self._events:
            return self._newest, self._events[0][0].seq
        return self._newest, self._newest + 1 if self._newest else None


class Scopes:
    """The replay buffers of a runtime. All together they keep `limit` bytes, beside what each may keep.

    When that is used up, the session that has been silent longest loses its oldest events; who resumes there
    is told to resynchronize, as for events that its own bound dropped.
    """

    def __init__(self, limit: int = Limits().replay) -> None:
        self._limit = limit
        self._runtime = ReplayBuffer(*RUNTIME_BUFFER)
        self._sessions: dict[str, ReplayBuffer] = {}
        self._filled: OrderedDict[str, ReplayBuffer] = OrderedDict()  # with events; silent ones first
        self._deleted = Tombstones()
        self._used = 0  # by sessions
        self.dropped = 0
        """Events that the common bound has dropped."""

    @property
    def used(self) -> int:
        """Bytes of JSON that are kept."""
        return self._used + self._runtime.used

    def __contains__(self, session_id: str) -> bool:
        """Return whether anything is known of a session."""
        return session_id in self._sessions

    def buffer(self, session_id: str | None) -> ReplayBuffer:
        """Return the buffer of a session, made if there is none, or of the runtime's scope.

        Raises:
            Gone: the session was deleted.
        """
        if session_id is None:
            return self._runtime
        buffer = self._sessions.get(session_id)
        if buffer is None:
            if session_id in self._deleted:
                raise Gone(f"session {session_id!r} was deleted")
            buffer = self._sessions[session_id] = ReplayBuffer(*SESSION_BUFFER)
        return buffer

    def append(self, buffer: ReplayBuffer, envelope: EventEnvelope, size: int) -> None:
        """Keep an event in the buffer of its scope."""
        session_id = envelope.session_id
        if session_id is None:
            buffer.append(envelope, size)
            return
        before = buffer.used
        buffer.append(envelope, size)
        self._used += buffer.used - before
        self._filled[session_id] = buffer
        self._filled.move_to_end(session_id)
        while self._used > self._limit:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        session_id, buffer = next(iter(self._filled.items()))
        before = buffer.used
        if len(buffer):
            buffer.drop_oldest()
            self.dropped += 1
        self._used += buffer.used - before
        if not len(buffer):
            del self._filled[session_id]

    def open(self, session_id: str, newest: int = 0) -> None:
        """Make the session's scope live, again if it was deleted (contract 13.11).

        Args:
            session_id: its id.
            newest: the newest event that it may have had; none up to there is kept here.
        """
        self._deleted.discard(session_id)
        self.buffer(session_id).note_newest(newest)

    def delete(self, session_id: str) -> None:
        """Drop the session's buffer and refuse what is published there until it is opened again."""
        buffer = self._sessions.pop(session_id, None)
        if buffer is not None:
            self._used -= buffer.used
            self._filled.pop(session_id, None)
        self._deleted.add(session_id)

    def is_deleted(self, session_id: str) -> bool:
        """Return whether the session was deleted and not opened since."""
        return session_id not in self._sessions and session_id in self._deleted
