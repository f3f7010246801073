"""Members of a worker: names, and which of them an event belongs to; pure.

A worker of several members is several cursors and leases: `demo:bridge` is member 0, `demo:bridge#1` the
next. Decision 0047 says why.
"""

from __future__ import annotations

from zlib import crc32

import msgspec

from dnworker.core.envelope import EventEnvelope

MOST_MEMBERS = 64
"""Members that a worker may have: each is a cursor, a lease and a consumer."""

_MARK = "#"
"""Stands in no name of a worker that is declared."""


def member_name(worker: str, index: int) -> str:
    """Return the name of one member of a worker; that of the first is the worker's own."""
    return worker if index == 0 else f"{worker}{_MARK}{index}"


def family_of(name: str) -> str:
    """Return the worker that a member belongs to; of a worker without members, that worker."""
    return name.partition(_MARK)[0]


def index_of(name: str) -> int:
    """Return the number of a member, 0 for the first."""
    number = name.partition(_MARK)[2]
    return int(number) if number.isascii() and number.isdigit() else 0


class Partition(msgspec.Struct, frozen=True):
    """How the events of a worker are divided among its members."""

    of: int = 1
    """How many members there are."""
    by_session: bool = False
    """Whether all events of a session belong to one member."""

    def member_of(self, event_id: str, session_id: str | None) -> int:
        """Return which member an event belongs to, from 0 on: the same on every machine and in every run."""
        key = session_id if self.by_session and session_id is not None else event_id
        return crc32(key.encode("utf-8", "surrogatepass")) % self.of

    @property
    def text(self) -> str:
        """How people say it, as `4 members ordered by session`."""
        members = "1 member" if self.of == 1 else f"{self.of} members"
        return f"{members} ordered by session" if self.of > 1 and self.by_session else members


ALONE = Partition()
"""That of a worker that is not divided."""


class Share(msgspec.Struct, frozen=True):
    """The events of one member of a worker."""

    index: int = 0
    partition: Partition = ALONE
    turn: int = 0
    """How often the worker was divided anew by then: members of different turns must not run at one time."""
    start: int | None = None
    """The `seq` after which its kinds begin where it has never run; None where they begin as any worker's."""

    def has(self, envelope: EventEnvelope) -> bool:
        """Return whether an event belongs to this member."""
        partition = self.partition
        return partition.of == 1 or partition.member_of(envelope.event_id, envelope.session_id) == self.index
