"""`SharedConsumer`: the events of one worker, once its cursor is this runtime's."""

from __future__ import annotations

import asyncio

from dnworker.events.brokers.base import BacklogWatcher
from dnworker.events.brokers.kept.consumer import KeptConsumer
from dnworker.events.brokers.kept.cursors import Cursor, Outstanding
from dnworker.events.brokers.kept.delays import Delays
from dnworker.events.brokers.kept.given import Desk


class SharedConsumer(KeptConsumer):
    """Gives nothing before its cursor is claimed: what another runtime has handled is known then.

    What is published meanwhile waits behind.
    """

    def __init__(self, desk: Desk, cursor: Cursor, watcher: BacklogWatcher | None) -> None:
        self._has_begun = False
        self.claimed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Is done when the cursor is this runtime's; fails with `NotStored` where it will not be."""
        self.claimed.add_done_callback(lambda done: done.cancelled() or done.exception())
        super().__init__(desk, cursor, watcher)

    def begin(self) -> None:
        """Begin where the cursor is; again, where it has turned out to be elsewhere before it was claimed."""
        if self._closed:
            return
        self._has_begun = True
        self._delays.stop()
        self._delays = Delays(self._desk.clock, self._come_due)
        self._delayed.clear()
        self._due.clear()
        cursor = self._cursor
        self._taken_before, self._seen = cursor.taken_to, cursor.handled_to
        self._aside = dict(cursor.outstanding) | {seq: Outstanding(0) for seq in self._held}
        self._noted_for = cursor.kinds
        self._sort_aside()

    async def get_ready(self) -> None:
        """Return when the cursor is this runtime's."""
        await asyncio.shield(self.claimed)

    def note_position(self) -> None:
        """Bring the cursor up to date."""
        if self._has_begun:
            super().note_position()

    def close(self) -> None:
        """Receive nothing more; what was not handled is kept for the worker's next consumer."""
        super().close()
        if not self.claimed.done():
            self.claimed.cancel()
