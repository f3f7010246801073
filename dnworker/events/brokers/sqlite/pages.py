"""`FilePages`: the part of the broker that its consumers read from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dnworker.events.brokers.kept.pages import Page, Stored
from dnworker.events.brokers.sqlite.reading import FileReader, by_seq, page
from dnworker.events.journal_rows import NOBODY


class FilePages:
    """Reads events of the file for the consumers of workers."""

    reader: FileReader

    async def page(
        self, kinds: dict[str | None, int], after: int, upto: int, *, most: int, max_bytes: int, worker: str
    ) -> Page:
        """Return the next events of some kinds, each since its own `seq`, after one up to another.

        Raises:
            BrokerError: the file cannot be read.
        """
        return await self.reader.run(
            partial(page, kinds=kinds, after=after, upto=upto, most=most, max_bytes=max_bytes)
        )

    async def by_seq(self, numbers: Sequence[int]) -> list[Stored]:
        """Return those events of some numbers that are kept and that a worker may get, in that order.

        Raises:
            BrokerError: the file cannot be read.
        """
        rows = await self.reader.run(partial(by_seq, numbers=numbers))
        return [one for one in rows if one.only != NOBODY]
