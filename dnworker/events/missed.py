"""`missed`: what a client of a session has missed, where it is no longer in memory; the socket asks."""

from __future__ import annotations

from dnworker.core.envelope import EventEnvelope
from dnworker.events.bus import EventBus

MOST_REPLAYED = 10_000
"""Events of a session that are replayed from the broker; who has missed more must look at it anew."""


async def missed(
    bus: EventBus, session_id: str, after_seq: int, since_seq: int
) -> list[EventEnvelope] | None:
    """Return the events of a session after `after_seq` that are older than those kept in memory.

    None where some are nowhere any more, or too many: who asks must look at the session anew. Nothing is
    delivered between the return and what the caller does next without waiting.

    Args:
        bus: which has the newest of them.
        session_id: whose events.
        after_seq: the newest that is known.
        since_seq: where the session begins: what is older belongs to a deleted one of its id.
    """
    found: list[EventEnvelope] = []
    after, asked = after_seq, None
    while (oldest := bus.bounds(session_id)[1]) is not None and after < oldest - 1:
        if asked == (after, oldest):
            break  # there are none between
        can = bus.broker.capabilities.survives_kill and since_seq <= after_seq
        if not can or len(found) > MOST_REPLAYED:
            return None
        asked = after, oldest
        found += await bus.broker.replay(session_id, after)
        after = found[-1].seq if found else after
    if asked is not None and after_seq < await bus.broker.dropped_to():
        return None
    return found
