"""`Deltas`: pieces of answers on their way to all nodes, which no broker keeps; used by `turn_events.py`.

A piece names the event of its turn that was published before it. A node passes it on once it has delivered
that event, or after a second. One that is overtaken by a later event comes behind it; after the end of the
turn none comes: the last event has the text.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.envelope import ENVELOPE_BYTES, EventEnvelope, decode, encode, pack
from dnworker.core.errors import Gone, Invalid
from dnworker.core.ids import new_id
from dnworker.events.brokers.messages import subject_token

if TYPE_CHECKING:
    from dnworker.core.clock import Clock
    from dnworker.events.bus import EventBus
    from dnworker.sessions.turn import Turn

log = logging.getLogger("dnworker.turns")

SUBJECT = "deltas"

LARGEST = 100_000
"""Bytes of a piece; a larger one is kept as an event."""

WAIT = 1.0
"""Seconds for which pieces wait for the event before them."""

MOST_WAITING = 1_000
"""Pieces of a turn that wait; the oldest is passed on then."""

TURNS_KNOWN = 2_000
"""Turns of which it is known where they are, those that have ended among them."""

STREAMED = "generationcontent"
"""The type of raw events that are pieces of an answer."""


class Delta(msgspec.Struct, frozen=True):
    """One piece."""

    node: str
    after: str | None
    """The id of the event of the turn that was published before it."""
    event: msgspec.Raw


class _Place:
    """Where one turn is, as this node has heard."""

    def __init__(self) -> None:
        self.delivered: deque[str] = deque(maxlen=64)
        """The ids of its newest events, the newest last."""
        self.waiting: deque[tuple[str | None, EventEnvelope, int]] = deque()
        self.timer: asyncio.TimerHandle | None = None
        self.has_ended = False


class Deltas:
    """Sends pieces to the other nodes, and passes on theirs and its own.

    Args:
        bus: passes them on.
        is_known: returns whether there is a session of an id, on any node.
        clock: dates them.
    """

    def __init__(self, bus: EventBus, is_known: Callable[[str], bool], clock: Clock) -> None:
        self._bus = bus
        self._is_known = is_known
        self._clock = clock
        self._node = new_id()
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._ends: list[Callable[[], object]] = []

    def open(self) -> None:
        """Send and pass on from now on, if the broker carries messages."""
        if (messages := self._bus.broker.messages) is not None:
            self._ends = [
                messages.listen(f"{SUBJECT}.>", self._hear),
                self._bus.delivered.add(self._note),
            ]

    def close(self) -> None:
        """Send and pass on nothing more."""
        while self._ends:
            self._ends.pop()()
        for place in self._places.values():
            self._stop_waiting(place)
        self._places.clear()

    def send(self, turn: Turn, session_id: str, kind: str, payload: dict[str, Any]) -> bool:
        """Send a piece to all nodes, this one too; returns whether it is one, and is not to be kept.

        Raises:
            Gone, Invalid, TooLarge: as of `EventBus.publish`.
        """
        messages = self._bus.broker.messages
        if not self._ends or messages is None or payload.get("event_type") != STREAMED:
            return False
        packed, size = pack(payload)
        if size > LARGEST:
            return False
        self._bus.scopes.buffer(session_id)
        envelope: EventEnvelope = EventEnvelope(
            seq=0,
            kind=kind,
            payload=packed,  # type: ignore[arg-type]  # parsed when it is read: see core/envelope.py
            session_id=session_id,
            turn_id=turn.id,
            timestamp=self._clock.now(),
        )
        size += len(kind) + ENVELOPE_BYTES
        data = msgspec.json.encode(Delta(self._node, turn.last_event_id, msgspec.Raw(encode(envelope))))
        messages.tell(f"{SUBJECT}.{subject_token(session_id)}", data)
        self._take(turn.last_event_id, envelope, size)
        return True

    def has_ended(self, turn_id: str) -> bool:
        """Return whether the end of a turn was delivered here, as far as that is remembered."""
        return (place := self._places.get(turn_id)) is not None and place.has_ended

    def _hear(self, subject: str, data: bytes) -> None:
        try:
            delta = msgspec.json.decode(data, type=Delta)
            if delta.node == self._node:
                return
            envelope = decode(bytes(delta.event))
            if not _is_piece(envelope, subject, len(data)):
                raise Invalid("it is no piece of an answer", code="DN813")
        except (msgspec.MsgspecError, RecursionError, Invalid) as exc:
            log.warning("a piece of an answer from another node cannot be read: %s", exc)
            return
        self._take(delta.after, envelope, len(delta.event))

    def _place(self, turn_id: str) -> _Place:
        place = self._places.get(turn_id)
        if place is None:
            place = self._places[turn_id] = _Place()
            while len(self._places) > TURNS_KNOWN:
                self._flush(next(iter(self._places.values())))
                self._places.popitem(last=False)
        return place

    def _take(self, after: str | None, envelope: EventEnvelope, size: int) -> None:
        place = self._place(envelope.turn_id or "")
        newest = place.delivered[-1] if place.delivered else None
        if place.has_ended:  # its last event has the text
            log.debug("a piece of the answer of %s comes after its end", envelope.turn_id)
            return
        is_late = after != newest and after in place.delivered
        if after is None or is_late or (after == newest and not place.waiting):
            self._pass_on(envelope, size)
            return
        place.waiting.append((after, envelope, size))
        if len(place.waiting) > MOST_WAITING:
            self._pass_on(*place.waiting.popleft()[1:])
        if place.timer is None:
            place.timer = asyncio.get_running_loop().call_later(WAIT, self._flush, place)

    def _note(self, envelope: EventEnvelope) -> None:
        """Note that an event was delivered here, and pass on the pieces that wait for it."""
        if envelope.turn_id is None:
            return
        place = self._place(envelope.turn_id)
        place.delivered.append(envelope.event_id)
        if envelope.terminal:
            place.has_ended = True
            place.waiting.clear()
        while place.waiting and place.waiting[0][0] in place.delivered:
            after, piece, size = place.waiting.popleft()
            if after == envelope.event_id:
                self._pass_on(piece, size)
        if not place.waiting:
            self._stop_waiting(place)

    def _flush(self, place: _Place) -> None:
        """Wait no longer: the event before was here before this node, or was not kept."""
        self._stop_waiting(place)
        while place.waiting:
            self._pass_on(*place.waiting.popleft()[1:])

    def _stop_waiting(self, place: _Place) -> None:
        if place.timer is not None:
            place.timer.cancel()
            place.timer = None

    def _pass_on(self, envelope: EventEnvelope, size: int) -> None:
        session_id = envelope.session_id or ""
        if not self._is_known(session_id) and session_id not in self._bus.scopes:
            log.warning("a piece of an answer is dropped: nothing is known of its session %.60r", session_id)
            return
        try:
            self._bus.pass_on(envelope, size)
        except Gone:
            log.debug("a piece of an answer comes after its session was deleted")


def _is_piece(envelope: EventEnvelope, subject: str, size: int) -> bool:
    """Return whether an event of another node is what may come beside the broker, which is no end."""
    return (
        envelope.kind == "turn.event"
        and not envelope.terminal
        and bool(envelope.turn_id and envelope.session_id)
        and subject == f"{SUBJECT}.{subject_token(envelope.session_id or '')}"
        and size <= 2 * LARGEST
        and envelope.payload.get("event_type") == STREAMED
    )
