"""The endpoint that shows the nodes which share a broker."""

from __future__ import annotations

import httpx
import pytest

from dnworker import Runtime, Worker
from dnworker.core.clock import RealClock
from dnworker.server import nodes as nodes_endpoint
from dnworker.testing import SharedBroker, SharedStore

HEADERS = {"Authorization": "Bearer s3cret"}


@pytest.fixture
async def store():
    return SharedStore(RealClock())


@pytest.fixture
async def shared(store):
    broker = SharedBroker(store)
    async with Runtime(port=0, token="s3cret", broker=broker, node="one", labels=["gpu"]) as runtime:
        yield runtime


async def nodes_of(runtime):
    async with httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http:
        answer = await http.get("/api/nodes")
        assert answer.status_code == 200
        return answer.json()


async def test_a_runtime_in_memory_shares_nothing_and_has_no_nodes(http):
    answer = (await http.get("/api/nodes")).json()
    assert (answer["is_shared"], answer["node"], answer["nodes"]) == (False, None, [])


async def test_all_nodes_are_told_with_what_they_hold_and_the_timeline(shared, store):
    async with Runtime(port=None, broker=SharedBroker(store), node="two") as second:
        await second.add(Worker("bridge"))
        await second.nodes.look()
        answer = await nodes_of(shared)
    assert (answer["is_shared"], answer["node"], answer["failure"]) == (True, "one", None)
    one, two = answer["nodes"]
    assert (one["name"], one["is_here"], one["labels"], one["url"]) == ("one", True, ["gpu"], shared.url)
    assert [held["worker"] for held in two["workers"]] == ["notebook:bridge"]
    assert [(move["kind"], move["node"]) for move in answer["timeline"]] == [
        ("joined", "one"),
        ("joined", "two"),
        ("started", "two"),
    ]


async def test_a_node_that_is_cut_off_says_so_and_tells_what_it_saw_last(shared):
    shared.bus.broker.cut_off()
    answer = await nodes_of(shared)
    assert "cut off" in answer["failure"]
    assert [one["name"] for one in answer["nodes"]] == ["one"]


async def test_an_answer_is_bounded_and_counts_the_rest(shared, store, monkeypatch):
    monkeypatch.setattr(nodes_endpoint, "NODES_SHOWN", 1)
    monkeypatch.setattr(nodes_endpoint, "WORKERS_SHOWN", 1)
    for name in ("v", "w"):
        await shared.add(Worker(name))
    async with Runtime(port=None, broker=SharedBroker(store), node="two"):
        await shared.nodes.look()
        answer = await nodes_of(shared)
    (one,) = answer["nodes"]
    assert (answer["more"], one["held"], len(one["workers"])) == (1, 2, 1)


@pytest.mark.parametrize("path", ["/api/nodes/reload", "/api/nodes/target"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_nodes_are_neither_reloaded_nor_given_a_version_without_the_token(
    shared, monkeypatch, path, headers
):
    called = []
    monkeypatch.setattr(shared, "reload_nodes", lambda *of: called.append(of))
    monkeypatch.setattr(shared, "make_target", lambda *of: called.append(of))
    async with httpx.AsyncClient(base_url=shared.url, headers=headers, trust_env=False) as http:
        answer = await http.post(path, params={"capability": "demo"})
    assert (answer.status_code, called) == (401, [])
