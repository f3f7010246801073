"""A worker of several members: each has its share of the events, on as many nodes as there are."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from dnworker import Worker
from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.clock import VirtualClock
from dnworker.core.errors import Conflict, UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker.core.members import Partition
from dnworker.engine.placement import Place, Seat, Table
from dnworker.engine.replicas_text import replicas_of
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.runtime import Runtime
from dnworker.testing import SharedBroker, SharedStore
from dnworker.workers.inprocess_worker import InProcessWorker

MANIFEST = """schema: 1
name: demo
version: 1.0.0
description: Counts events.
workers:
  bridge:
    path: bridge.py
"""
WORKER = """from dreadnode.capabilities.worker import Worker

worker = Worker(name="bridge")

@worker.on_startup
async def begin(client):
    worker.state["seen"] = []

@worker.on_event("count.one")
async def count(event, client):
    await client.publish("count.seen", {"n": event.payload["n"], "session": event.session_id})

@worker.every(seconds=10)
async def tick(client):
    await client.publish("count.tick", {})

@worker.task
async def run(client):
    await client.publish("count.task", {})
    import asyncio
    await asyncio.Event().wait()
"""


class Cluster:
    """Runtimes on one store and one clock, which run the capability."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.root = directory / "demo"
        self.root.mkdir()
        (self.root / "capability.yaml").write_text(MANIFEST)
        (self.root / "bridge.py").write_text(WORKER)
        self.clock = VirtualClock()
        self.store = SharedStore(self.clock)
        self.stack = stack
        self.nodes: dict[str, Runtime] = {}

    async def join(self, name: str, replicas: int | None = 4, **options) -> Runtime:
        of = {} if replicas is None else {"demo:bridge": replicas}
        node = Runtime(
            port=None, broker=SharedBroker(self.store), clock=self.clock, node=name, replicas=of, **options
        )
        self.nodes[name] = await self.stack.enter_async_context(node)
        await node.load(self.root)
        await self.settle(3)
        return node

    async def settle(self, seconds: float = 0.4) -> None:
        for _ in range(round(seconds * 10)):
            await self.clock.advance(0.1)

    def held(self) -> dict[str, list[str]]:
        """Return which members run on each node."""
        return {
            name: [one.name for one in node.workers() if one.state is WorkerState.RUNNING]
            for name, node in self.nodes.items()
        }

    def kinds(self, kind: str) -> list:
        """Return the events of a kind, in order."""
        return [one for one in self.store.events if one.kind == kind]


@pytest.fixture
async def cluster(tmp_path):
    async with AsyncExitStack() as stack:
        yield Cluster(tmp_path, stack)


async def test_a_node_alone_runs_all_members_and_others_that_join_get_their_share(cluster):
    await cluster.join("a")
    assert sorted(cluster.held()["a"]) == ["bridge", "bridge#1", "bridge#2", "bridge#3"]
    await cluster.join("b")
    await cluster.settle(20)
    assert [len(held) for held in cluster.held().values()] == [2, 2]
    for name in ("c", "d"):
        await cluster.join(name)
        await cluster.settle(80)
    assert [len(held) for held in cluster.held().values()] == [1, 1, 1, 1]
    assert len(set().union(*cluster.held().values())) == 4


async def test_every_event_is_handled_by_one_member(cluster):
    for name in "ab":
        await cluster.join(name)
    await cluster.settle(20)
    for n in range(100):
        cluster.nodes["a"].bus.publish("count.one", {"n": n})
    await cluster.settle(1)
    seen = [one.payload["n"] for one in cluster.kinds("count.seen")]
    assert sorted(seen) == list(range(100))
    calls = {
        one.qualified_name: sum(
            stats.calls for key, stats in one.stats.items() if key.decorator == "on_event"
        )
        for node in cluster.nodes.values()
        for one in node.workers()
        if one.state is WorkerState.RUNNING
    }
    assert len(calls) == 4
    assert min(calls.values()) > 0


async def test_an_event_that_is_for_one_worker_goes_to_the_member_whose_it_is(cluster):
    await cluster.join("a")
    for n in range(20):
        cluster.nodes["a"].bus.publish("count.one", {"n": n}, only="demo:bridge#3")
    await cluster.settle(1)
    assert len(cluster.kinds("count.seen")) == 20


async def test_schedules_and_tasks_run_on_the_first_member_alone(cluster):
    for name in "ab":
        await cluster.join(name)
    await cluster.settle(20)
    before = len(cluster.kinds("count.tick"))
    await cluster.settle(50)
    assert len(cluster.kinds("count.tick")) - before == 5
    (holder,) = [name for name, held in cluster.held().items() if "bridge" in held]
    started = len(cluster.kinds("count.task"))
    await cluster.nodes.pop(holder).stop()
    await cluster.settle(5)
    assert len(cluster.kinds("count.task")) == started + 1


async def test_a_node_that_was_told_another_number_or_none_stands_by_until_no_member_runs(cluster):
    first = await cluster.join("a")
    other, untold = await cluster.join("b", 2), await cluster.join("c", None)
    for node in (other, untold):
        why = node.worker("demo:bridge").why_standby
        assert "start this node with --replicas demo:bridge=4" in why
        assert "\n" not in why
    assert len(cluster.held()["a"]) == 4
    del cluster.nodes["a"]
    await first.stop()
    await cluster.settle(15)
    assert sorted(cluster.held()["b"]) == ["bridge", "bridge#1"]
    assert cluster.held()["c"] == []
    assert "--replicas demo:bridge=2" in untold.worker("demo:bridge").why_standby


async def test_no_member_runs_by_another_number_while_one_that_is_cut_off_may_run_still(cluster):
    first = await cluster.join("a")
    await cluster.join("b", 2)
    first.bus.broker.cut_off()
    for _ in range(200):
        await cluster.settle(0.1)
        held = cluster.held()
        assert not (held["a"] and held["b"])
    assert sorted(cluster.held()["b"]) == ["bridge", "bridge#1"]


async def test_the_api_says_which_member_of_how_many_each_is(cluster):
    node = await cluster.join("a", 2)
    details = [one.detail() for one in node.workers()]
    assert [(one["name"], one["member"], one["members"]) for one in details] == [
        ("bridge", 0, 2),
        ("bridge#1", 1, 2),
    ]
    assert node.workers()[1].topology_label.endswith("member 2 of 2")


async def test_a_worker_with_a_state_that_is_kept_has_one_member(cluster):
    node = await cluster.join("a", keep_state=["demo:bridge"])
    errors = {one.error for one in node.workers()}
    assert errors == {
        "demo:bridge has a state that is kept, of which each member would have another; leave out --replicas "
        "or --keep-state"
    }


async def test_a_worker_that_is_added_in_this_process_has_one_member(cluster):
    node = await cluster.join("a", None)
    node.services.partitions["demo:other"] = Partition(4)
    with pytest.raises(Conflict, match="export it, or leave that out"):
        await node.capabilities.adopt(added(node, "other"))


def added(node: Runtime, name: str) -> InProcessWorker:
    home = node.capabilities.get("demo")
    return InProcessWorker(node.services, home, WorkerDefinition(name), lambda: Worker(name=name))


@pytest.mark.parametrize(
    "options",
    [
        {"replicas": {"demo:bridge": 0}},
        {"replicas": {"demo:bridge": 65}},
        {"replicas": {"demo:bridge": True}},
        {"replicas": {"bridge": 4}},
        {"replicas": {"demo:bridge#1": 4}},
        {"ordered_by": {"demo:bridge": "session"}},
        {"replicas": {"demo:bridge": 4}, "ordered_by": {"demo:bridge": "kind"}},
    ],
)
def test_what_is_no_number_or_order_is_refused_in_one_line(options):
    with pytest.raises(ValueError, match=r"^[^\n]{10,120}$"):
        Place(**options)


def test_replicas_are_refused_where_the_broker_is_not_shared():
    with pytest.raises(ValueError, match="share a broker"):
        Runtime(port=None, broker=MemoryBroker(), replicas={"demo:bridge": 4})


@pytest.mark.parametrize(
    ("replicas", "ordered_by", "keep_state", "text"),
    [
        (["demo:bridge"], [], [], "CAP:WORKER=N is wanted"),
        (["demo:bridge=0"], [], [], "CAP:WORKER=N is wanted"),
        (["demo:bridge=99999999999"], [], [], "CAP:WORKER=N is wanted"),
        (["demo:bridge=2", "demo:bridge=3"], [], [], "give one"),
        ([], ["demo:bridge=session"], [], "add --replicas demo:bridge=N"),
        (["demo:bridge=2"], ["demo:bridge=kind"], [], "CAP:WORKER=session is wanted"),
        (["demo:bridge=2"], [], ["demo:bridge"], "leave out --replicas demo:bridge"),
    ],
)
def test_options_that_cannot_be_read_or_exclude_each_other_are_refused(
    replicas, ordered_by, keep_state, text
):
    with pytest.raises(UsageError, match=text):
        replicas_of(replicas, ordered_by, keep_state)


def test_hand_overs_spread_members_and_come_to_an_end():
    members = [f"demo:bridge{mark}" for mark in ("", "#1", "#2", "#3")]
    others = ["demo:one", "demo:two", "demo:three", "demo:four", "demo:five"]
    held = {"a": {*members, *others}, "b": set(), "c": set()}
    moves = 0
    while True:
        seats = [
            Seat(
                node=node,
                holder=node,
                holds=dict.fromkeys(has, 1),
                wants=sorted({*members, *others} - has),
            )
            for node, has in held.items()
        ]
        found = next(
            (
                (seat.node, *surplus)
                for seat in seats
                if (surplus := Table(seats).surplus(seat, list(seat.holds))) is not None
            ),
            None,
        )
        if found is None:
            break
        moves += 1
        assert moves < 50, "workers move for ever"
        giver, worker, taker = found
        held[giver].discard(worker)
        held[taker.node].add(worker)
    counts = sorted(len(has & {*members}) for has in held.values())
    assert counts == [1, 1, 2]
    assert all(later - former <= 1 for former, later in pairwise(sorted(map(len, held.values()))))
