"""Simulates leases, cursors and readers of a large cluster, and prints where it breaks; decision 0050.

A discrete-event simulation: what writes to a server, and what a node's loop does, waits in a line of its own.
Costs of a node are those of `benchmarks/bench_cluster.py`; those of servers are assumed, and options.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dnworker.core.lease_time import ANSWER_WITHIN, RENEW_AFTER
from dnworker.events.brokers.jetstream.marks import LONGEST_SECONDS, MARK_SECONDS, WRITES_A_SECOND

TICK = 0.01
"""Seconds of events that are simulated as one."""

EVENT_BYTES = 400
"""An event of 100 characters on its way to a node, with its subject and headers."""


@dataclass(frozen=True)
class Costs:
    """What one thing takes, in seconds."""

    write: float
    """A conditional write to a bucket, at the server that leads it."""
    publish: float
    """An event, at the server that leads its stream."""
    read: float = 35e-6
    handle: float = 90e-6
    """An event of others and its reports, and one that is published and handled there, on a loop."""


@dataclass(frozen=True)
class Plan:
    """How a cluster is made, and what it has to do."""

    name: str
    nodes: int
    workers: int
    events: float
    """A second, in the whole namespace."""
    streams: int = 1
    buckets: int = 1
    """Parts of a namespace with a leader each, for events, and for cursors and leases."""
    reads_all: bool = True
    """Whether each node reads all events, or those of its workers only."""
    leases_a_node: bool = False
    """Whether one lease is for all workers of a node."""


@dataclass
class Line:
    """Something that does one thing after the other."""

    free_at: float = 0.0
    asked: float = 0.0
    count: int = 0

    def serve(self, now: float, seconds: float, count: int = 1) -> float:
        """Do something as soon as what came before is done; return when it is."""
        self.asked += seconds
        self.count += count
        self.free_at = max(self.free_at, now) + seconds
        return self.free_at


@dataclass
class Found:
    """What a simulation has found."""

    buckets: list[Line]
    streams: list[Line]
    loops: list[Line]
    renewals: int = 0
    marks: int = 0
    late: int = 0
    """Renewals that were answered too late."""
    slowest: float = 0.0
    """Seconds of the slowest renewal."""


@dataclass
class Simulation:
    """One plan, for some seconds."""

    plan: Plan
    costs: Costs
    seconds: float
    heap: list[tuple[float, int, str, int]] = field(default_factory=list)

    def run(self, seed: int = 1) -> Found:
        """Return what becomes of it."""
        chance, plan = random.Random(seed), self.plan
        buckets, streams, loops = (
            [Line() for _ in range(count)] for count in (plan.buckets, plan.streams, plan.nodes)
        )
        found = Found(buckets, streams, loops)
        for number, (what, every, index) in enumerate(self._begin()):
            heapq.heappush(self.heap, (chance.uniform(0, every), number, what, index))
        while self.heap and self.heap[0][0] < self.seconds:
            now, number, what, index = heapq.heappop(self.heap)
            after = getattr(self, f"_{what}")(found, now, index)
            heapq.heappush(self.heap, (now + after, number, what, index))
        return found

    def _begin(self) -> Iterator[tuple[str, float, int]]:
        leases = self.plan.nodes if self.plan.leases_a_node else self.plan.workers
        yield from (("renew", RENEW_AFTER, index) for index in range(leases))
        yield from (("mark", MARK_SECONDS, index) for index in range(self.plan.nodes))
        yield from (("accept", TICK, index) for index in range(self.plan.streams))
        yield from (("read", TICK, index) for index in range(self.plan.nodes))

    def _renew(self, found: Found, now: float, index: int) -> float:
        done = found.buckets[index % len(found.buckets)].serve(now, self.costs.write)
        found.renewals += 1
        found.late += done - now > ANSWER_WITHIN
        found.slowest = max(found.slowest, done - now)
        return RENEW_AFTER

    def _mark(self, found: Found, now: float, index: int) -> float:
        held, each = self.plan.workers / self.plan.nodes, self.plan.events / self.plan.workers
        delay = max(MARK_SECONDS, min(held / WRITES_A_SECOND, LONGEST_SECONDS))
        cursors = max(1, round(held * min(1.0, each * delay)))
        found.buckets[index % len(found.buckets)].serve(now, cursors * self.costs.write, cursors)
        found.marks += cursors
        return delay

    def _accept(self, found: Found, now: float, index: int) -> float:
        events = self.plan.events * TICK / self.plan.streams
        found.streams[index].serve(now, events * self.costs.publish)
        return TICK

    def _read(self, found: Found, now: float, index: int) -> float:
        own = self.plan.events * TICK / self.plan.nodes
        others = self.plan.events * TICK - own if self.plan.reads_all else 0.0
        found.loops[index].serve(now, own * self.costs.handle + others * self.costs.read)
        return TICK


def lines_of(plan: Plan, costs: Costs, seconds: float) -> Iterator[str]:
    """Yield what is to be said of a plan."""
    found = Simulation(plan, costs, seconds).run()
    named = (
        ("bucket leader", found.buckets),
        ("stream leader", found.streams),
        ("loop of a node", found.loops),
    )
    yield f"{plan.name}: {plan.nodes} nodes, {plan.workers:,} workers, {plan.events:,.0f} events/s"
    for name, lines in named:
        share = max(line.asked for line in lines) / seconds
        state = "BREAKS" if share > 1 else "tight" if share > 0.7 else "ok"
        yield f"    {name:<16} {share:8.0%} of one  {state}"
    yield f"    renewals {found.renewals / seconds:,.0f}/s, cursors written {found.marks / seconds:,.0f}/s"
    if found.late:
        late = found.late / found.renewals
        yield f"    LOSES leases: {late:.0%} of renewals answered after {ANSWER_WITHIN:g} s"
    else:
        yield f"    slowest renewal {found.slowest * 1000:,.0f} ms"
    copies = plan.nodes if plan.reads_all else 1
    yield f"    servers send {plan.events * copies * EVENT_BYTES / 1e9:,.2f} GB/s to nodes"


def plans() -> Iterator[Plan]:
    """Yield a cluster as it grows, then what is changed for the largest, one thing after the other."""
    yield Plan("three nodes", 3, 30, 1_000)
    yield Plan("ten nodes", 10, 200, 5_000)
    large = Plan("hundred nodes, as it is", 100, 10_000, 1_000_000)
    yield large
    split = replace(large, name="and 128 streams by partition", streams=128)
    yield split
    own = replace(split, name="and readers of their own partitions", reads_all=False)
    yield own
    yield replace(own, name="and a lease a node, 16 buckets", leases_a_node=True, buckets=16)
    wide = replace(own, name="and 400 nodes", nodes=400, leases_a_node=True, buckets=16)
    yield wide
    yield replace(wide, name="and 64 buckets", buckets=64)


def main() -> None:
    """Print all plans."""
    parser = argparse.ArgumentParser(description=__doc__, prog="simulation")
    parser.add_argument("--seconds", type=float, default=12.0, help="simulated seconds (default: 12)")
    parser.add_argument("--writes", type=float, default=10_000, help="a bucket's leader does a second")
    parser.add_argument("--publishes", type=float, default=20_000, help="a stream's leader does a second")
    options = parser.parse_args()
    costs = Costs(write=1 / options.writes, publish=1 / options.publishes)
    for plan in plans():
        print("\n".join(lines_of(plan, costs, options.seconds)))


if __name__ == "__main__":
    main()
