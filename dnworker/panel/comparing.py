"""Compares payloads for the inspector: of two events, and of a call with the last that succeeded."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.envelope import bytes_of_payload, has_payload
from dnworker.core.json_rows import Difference, difference
from dnworker.events.last_good import last_good

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation
    from dnworker.core.side_threads import SideThreads
    from dnworker.events.history import History

ROWS_SHOWN = 120
"""Rows of a difference that are sent."""

LARGE = 40_000
"""Bytes of two payloads from which on they are compared on a thread, so that the loop goes on."""

REMEMBERED = 8
"""Differences that are kept: what is looked at is read again whenever something happens."""


class Comparisons:
    """The newest differences that views looked at; a payload never changes, so they hold."""

    def __init__(self, side_threads: SideThreads) -> None:
        self._side_threads = side_threads
        self._found: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()

    async def of(self, left: EventEnvelope, right: EventEnvelope) -> dict[str, Any]:
        """Return what differs between the payloads of two events, which both have theirs."""
        key = (left.event_id, right.event_id)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = to_json(await self._compared(left, right))
            while len(self._found) > REMEMBERED:
                self._found.popitem(last=False)
        return found

    async def with_good(
        self, call: Invocation, event: EventEnvelope, history: History
    ) -> dict[str, Any] | None:
        """Return what differs from the payload of the last call of the handler that succeeded, and which."""
        good = last_good(call, history) if has_payload(event) else None
        if good is None:
            return None
        return {"event": good.event_id, "seq": good.seq, **await self.of(good, event)}

    async def _compared(self, left: EventEnvelope, right: EventEnvelope) -> Difference:
        if bytes_of_payload(left) + bytes_of_payload(right) < LARGE:
            return _difference(left, right)
        return await self._side_threads.run(_difference, left, right)


def _difference(left: EventEnvelope, right: EventEnvelope) -> Difference:
    return difference(left.payload, right.payload, ROWS_SHOWN)


def to_json(found: Difference) -> dict[str, Any]:
    """Return a difference as it is sent: its rows, how many there are, and where in words."""
    return {"where": found.where, "changes": found.changes, "rows": msgspec.to_builtins(found.rows)}
