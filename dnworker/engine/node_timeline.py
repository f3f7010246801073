"""`Timeline`: who joined, left and is gone, and which node held which worker, as all nodes keep it together.

Every node writes its own steps, several in one entry, so that two never write the same. The order of
entries is that of their revisions, which the broker gives: the clocks of nodes differ. Used by `nodes`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from dnworker.engine.node_records import Move
from dnworker.events.brokers.base import Broker, Entry

log = logging.getLogger("dnworker.nodes")

PREFIX = "timeline."

MOVES_KEPT = 200
"""Steps of all nodes that are kept; older ones are deleted, and all after a day."""

KEPT_FOR = 24 * 3600.0


class Timeline:
    """The newest steps of all nodes.

    Args:
        broker: gives the present one.
        instance: the id of this runtime, which no other has.
    """

    def __init__(self, broker: Callable[[], Broker], instance: str) -> None:
        self._broker = broker
        self._instance = instance
        self._written = 0
        self._waiting: list[Move] = []
        # what was read: by key, the revision and the steps
        self._entries: dict[str, tuple[int, list[Move]]] = {}

    @property
    def moves(self) -> list[Move]:
        """The newest steps as of the last `read`, oldest first, 200 at most."""
        ordered = sorted(self._entries.values(), key=lambda one: one[0])
        return [move for _, moves in ordered for move in moves][-MOVES_KEPT:]

    @property
    def has_more(self) -> bool:
        """Whether steps wait for the next `write`."""
        return bool(self._waiting)

    def holder_of(self, worker: str, below: int) -> str | None:
        """Return the node that held a worker last under a lower number; None where that is not known."""
        found = [m for m in self.moves if m.worker == worker and m.fence is not None and m.fence < below]
        return max(found, key=lambda move: move.fence or 0).node if found else None

    def note(self, *moves: Move) -> None:
        """Keep steps for the next `write`; more than can be kept are dropped, the oldest first."""
        self._waiting = [*self._waiting, *moves][-MOVES_KEPT:]

    async def write(self) -> None:
        """Write the steps that wait, and delete what is too old by then.

        Raises:
            OSError, DnworkerError: the broker is away; the steps wait for the next call.
        """
        if not self._waiting:
            return
        moves, self._waiting = self._waiting, []
        key = (
            f"{PREFIX}{self._instance}.{self._written}"  # the same again where it failed: no step comes twice
        )
        try:
            await self._broker().put(key, msgspec.json.encode(moves), seconds=KEPT_FOR)
        except BaseException:
            self._waiting = [*moves, *self._waiting][-MOVES_KEPT:]
            raise
        self._written += 1
        await self.read()
        await self._prune()

    async def read(self) -> None:
        """Read what all nodes have written."""
        found = await self._broker().entries(PREFIX)
        self._entries = {entry.key: self._known(entry) for entry in found}

    def _known(self, entry: Entry) -> tuple[int, list[Move]]:
        before = self._entries.get(entry.key)
        if before is not None and before[0] == entry.revision:
            return before
        return entry.revision, _moves_of(entry)

    async def _prune(self) -> None:
        """Delete the entries of which no step is among the newest."""
        left = MOVES_KEPT
        for key, (_, moves) in sorted(self._entries.items(), key=lambda one: one[1][0], reverse=True):
            if left <= 0:
                await self._broker().delete(key)
            left -= len(moves)


def _moves_of(entry: Entry) -> list[Move]:
    try:
        return msgspec.json.decode(entry.value, type=list[Move])[-MOVES_KEPT:]
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        log.warning("an entry of the timeline cannot be read, and is left out: %s: %s", entry.key, exc)
        return []
