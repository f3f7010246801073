"""What tests of turns look at: the events of a session."""

from __future__ import annotations


def kinds_of(runtime, session_id="s"):
    return [e.kind for e in runtime.history.events() if e.session_id == session_id]


async def next_of(runtime, kind):
    """Return the next event of a kind."""
    subscription = runtime.bus.subscribe([kind])
    try:
        return await anext(subscription)
    finally:
        subscription.close()
