"""The nodes as a view is sent them: at once when they change, bounded, and only where the broker is shared."""

from __future__ import annotations

import pytest

from dnworker import Runtime, Worker
from dnworker.core.clock import RealClock
from dnworker.engine import nodes as engine_nodes
from dnworker.engine.node_records import Held
from dnworker.panel import nodes_part
from dnworker.testing import SharedBroker, SharedStore

from ..capabilities import make_named
from .screen import Screen


@pytest.fixture(autouse=True)
def without_gaps(monkeypatch):
    monkeypatch.setattr(nodes_part, "NODES_INTERVAL", 0.0)
    monkeypatch.setattr(engine_nodes, "GAP", 0.0)


@pytest.fixture
async def store():
    return SharedStore(RealClock())


@pytest.fixture
async def one(store):
    async with Runtime(port=None, broker=SharedBroker(store), node="one", labels=["gpu"]) as runtime:
        yield runtime


async def test_a_runtime_in_memory_has_no_view_of_nodes(screen):
    snapshot = await screen.open(looks={"nodes": {}})
    assert "node" not in snapshot["runtime"]
    assert snapshot["nodes"]["isShared"] is False


async def test_a_node_that_joins_holds_a_worker_and_leaves_is_sent_at_once(one, store):
    screen = Screen(one)
    snapshot = await screen.open(looks={"nodes": {}})
    assert snapshot["runtime"]["node"] == "one"
    assert [row["name"] for row in snapshot["nodes"]["rows"]] == ["one"]
    async with Runtime(port=None, broker=SharedBroker(store), node="two") as two:
        await screen.part("nodes", lambda part: part["up"] == 2)
        await two.add(Worker("bridge"))
        part = await screen.part("nodes", lambda part: part["workers"])
        assert [(held["name"], held["node"]) for held in part["workers"]] == [("notebook:bridge", "two")]
    part = await screen.part("nodes", lambda part: part["up"] == 1)
    gone = next(row for row in part["rows"] if row["name"] == "two")
    assert (gone["state"], gone["hasLeft"], part["lost"]) == ("gone", True, [])
    assert part["moves"][0]["kind"] == "left"


async def test_a_chosen_node_has_its_workers_and_steps_alone_and_the_sums_are_of_all(one, store):
    screen = Screen(one)
    await one.add(Worker("v"))
    async with Runtime(port=None, broker=SharedBroker(store), node="two") as two:
        await two.add(Worker("w"))
        await screen.open(looks={"nodes": {"node": "two"}})
        part = await screen.part("nodes", lambda part: part["held"] == 2 and part["only"])
        assert [held["name"] for held in part["workers"]] == ["notebook:w"]
        assert {move["node"] for move in part["moves"]} == {"two"}
        assert part["allWorkers"] == 1


async def test_nobody_is_heard_of_while_no_view_shows_the_nodes(one):
    screen = Screen(one)
    await screen.open(looks={"nodes": {}})
    assert len(one.nodes._listeners) == 1
    screen.say("look", part="nodes", wanted=None)
    assert len(one.nodes._listeners) == 0
    screen.say("look", part="nodes", wanted={})
    assert len(one.nodes._listeners) == 1
    screen.say("bye")
    assert len(one.nodes._listeners) == 0


async def test_a_hundred_nodes_with_a_thousand_workers_are_bounded_and_counted(one, monkeypatch):
    monkeypatch.setattr(nodes_part, "ROWS_SHOWN", 3)
    monkeypatch.setattr(nodes_part, "WORKERS_SHOWN", 4)
    monkeypatch.setattr(nodes_part, "MOVES_SHOWN", 5)
    for n in range(6):
        await one.add(Worker(f"w{n}"))
    row = one.nodes.rows()
    await one.nodes.look()
    (row,) = one.nodes.rows()
    monkeypatch.setattr(one.nodes, "rows", lambda: [row] * 100)
    screen = Screen(one)
    part = (await screen.open(looks={"nodes": {}}))["nodes"]
    assert (len(part["rows"]), part["all"]) == (3, 100)
    assert (len(part["workers"]), part["allWorkers"]) == (4, 600)
    assert (len(part["moves"]), part["allMoves"]) == (5, 7)


async def test_a_failover_and_a_broker_that_is_away_are_told(one):
    class Holding:
        def held(self):
            return [Held("notebook:w", 4, "lost", True)]

    await one.add(Worker("w"))
    one.nodes.holdings = Holding()
    screen = Screen(one)
    await screen.open(looks={"nodes": {}})
    await one.nodes.look()
    part = await screen.part("nodes", lambda part: part["moves"][0]["kind"] == "failover")
    assert (part["moves"][0]["before"], part["workers"][0]["fence"]) == ("lost", 4)
    one.bus.broker.cut_off()
    await one.nodes.look()
    part = await screen.part("nodes", lambda part: part["failure"])
    assert "cut off" in part["failure"]


async def test_a_row_has_the_versions_of_its_capabilities_and_says_which_are_old(
    tmp_path, store, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with (
        Runtime(port=None, broker=SharedBroker(store), node="one") as one,
        Runtime(port=None, broker=SharedBroker(store), node="two") as two,
    ):
        await one.load(make_named(tmp_path / "old" / "demo", "demo", version="0.1.0"))
        await two.load(make_named(tmp_path / "new" / "demo", "demo", version="0.2.0"))
        screen = Screen(one)
        await screen.open(looks={"nodes": {}})

        def told(part):
            return {
                row["name"]: [(c["name"], c["version"], c["isOld"]) for c in row["capabilities"]]
                for row in part["rows"]
            }

        wanted = {"one": [("demo", "0.1.0", True)], "two": [("demo", "0.2.0", False)]}
        part = await screen.part("nodes", lambda part: told(part) == wanted)
        assert {len(c["digest"]) for row in part["rows"] for c in row["capabilities"]} == {8}
