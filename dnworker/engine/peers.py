"""`Peer`: another node as its reports show it; `elsewhere.py` has one a run of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from dnworker.core.invocation import Invocation
from dnworker.engine.node_reports import Batch

INVOCATIONS_KNOWN = 20_000
"""Invocations of one node that a late report can still name."""

LOOKED_AT = 16
"""Invocations that are looked at to forget one; tasks run for ever."""

BATCHES_WAITING = 2_000
"""Batches of one node that wait until the events that they name have arrived here."""

WAITING_BYTES = 64_000_000
"""Bytes of the batches of all nodes that do so."""

RUNNING_KNOWN = 10_000
"""Invocations of one node that run at the same time; of further ones nothing is known here."""

QUEUED_KNOWN = 200_000
"""Events that wait for the workers of one node; of more it is unsure which."""

CANCELLED_KNOWN = 1_000
"""Cancelled invocations of one node of which it is known when that was heard."""


class Arrived(msgspec.Struct, frozen=True):
    """One batch of a node, as it came here."""

    batch: Batch
    size: int
    """Its bytes."""
    since: float
    """When it came, or earlier where it was kept while this node was cut off; by the machine's monotonic
    clock."""


@dataclass(slots=True, eq=False)
class Peer:
    """What is known of one run of another node."""

    node: str
    instance: str
    heard_at: float
    """When it was heard of last, by this node's clock."""
    number: int = 0
    """Of its newest batch."""
    at: int = 0
    """All events up to this `seq` have reached its workers' queues, or are in `queued`."""
    listens: dict[str, frozenset[str] | None] = field(default_factory=dict)
    """Which kinds its workers listen to; None for every kind."""
    queued: set[str] = field(default_factory=set)
    """Events that wait for its workers."""
    is_unsure: bool = True
    """Whether some of `queued` may be missing until it tells of all: it is new, or a batch is lost."""
    invocations: dict[str, Invocation] = field(default_factory=dict)
    """Those that are running, and the newest others, by id."""
    running: dict[str, None] = field(default_factory=dict)
    cancelled: deque[tuple[float, Invocation]] = field(default_factory=lambda: deque(maxlen=CANCELLED_KNOWN))
    """What was cancelled there, and since when that was to be heard."""
    waiting: deque[Arrived] = field(default_factory=deque)
    """Batches that name events which are not here yet."""
    unknown: int = 0
    """Invocations of which nothing is known here, as too many ran."""
    why_gone: str | None = None
    """Why nothing is expected of it any more."""

    def hears(self, kind: str) -> bool:
        """Return whether a worker there listens to a kind."""
        return any(kinds is None or kind in kinds for kinds in self.listens.values())

    def workers_for(self, kind: str) -> Iterator[str]:
        """Yield the workers there that listen to a kind."""
        for worker, kinds in self.listens.items():
            if kinds is None or kind in kinds:
                yield worker

    def keep(self, its_id: str, invocation: Invocation) -> None:
        """Keep an invocation by its id; the oldest that have ended are forgotten."""
        self.invocations[its_id] = invocation
        self.running[its_id] = None
        if len(self.invocations) <= INVOCATIONS_KNOWN:
            return
        for _ in range(LOOKED_AT):
            oldest = next(iter(self.invocations))
            kept = self.invocations.pop(oldest)
            if oldest not in self.running:
                return
            self.invocations[oldest] = kept  # it is looked at last from now on
