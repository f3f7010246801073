"""A reload of all nodes goes from one to the next, and ends at the first that fails."""

from __future__ import annotations

from contextlib import AsyncExitStack

import httpx
import pytest

from dnworker import Runtime, WorkerState
from dnworker.core.clock import RealClock
from dnworker.core.errors import Conflict
from dnworker.engine import node_reloads
from dnworker.testing import SharedBroker, SharedStore

from ..capabilities import ECHO, make_capability
from .clusters import until


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


class Cluster:
    """Nodes that have the capability `demo`, each in a directory of its own."""

    def __init__(self, stack, directory):
        self.stack, self.directory, self.store = stack, directory, SharedStore(RealClock())
        self.reloaded: list[str] = []

    def write(self, name, text=ECHO):
        return make_capability(self.directory / name, "echo: {path: echo.py}", {"echo.py": text})

    async def join(self, name, *, loads=True):
        node = Runtime(port=None, broker=SharedBroker(self.store), node=name, token="s3cret")
        await self.stack.enter_async_context(node)
        if loads:
            await node.load(self.write(name))
        return node


@pytest.fixture
async def cluster(tmp_path):
    async with AsyncExitStack() as stack:
        yield Cluster(stack, tmp_path)


def told(done):
    return [(one.node, one.is_reloaded, one.error or one.note) for one in done]


async def test_all_nodes_reload_the_one_that_is_asked_first(cluster):
    a, b = await cluster.join("a"), await cluster.join("b")
    for name in ("a", "b"):
        cluster.write(name, ECHO + "# changed\n")
    before = [node.capabilities.get("demo").digest for node in (a, b)]
    assert told(await b.reload_nodes("demo")) == [("b", True, None), ("a", True, None)]
    after = [node.capabilities.get("demo").digest for node in (a, b)]
    assert len({*before, *after}) == 2
    assert after[0] == after[1]


async def test_a_node_without_the_capability_is_passed_over(cluster):
    a = await cluster.join("a")
    await cluster.join("b", loads=False)
    await cluster.join("c")
    lacks = "it does not have this capability"
    assert told(await a.reload_nodes("demo")) == [("a", True, None), ("b", False, lacks), ("c", True, None)]


async def test_after_a_node_that_fails_the_rest_is_left_alone_and_said(cluster):
    a, b, c = [await cluster.join(name) for name in "abc"]
    (b.capabilities.get("demo").root / "capability.yaml").write_text("schema: 1\n")
    cluster.write("c", ECHO + "# changed\n")
    before = c.capabilities.get("demo").digest
    done = await a.reload_nodes()
    assert [(one.node, one.is_reloaded) for one in done] == [("a", True), ("b", True), ("c", False)]
    assert "capability.yaml" in done[1].error
    assert done[2].note == "not asked, as node b has failed"
    assert c.capabilities.get("demo").digest == before


async def test_a_worker_that_does_not_start_after_it_is_a_failure(cluster):
    a, b = await cluster.join("a"), await cluster.join("b")
    assert a.worker("echo").state is WorkerState.RUNNING
    await until(lambda: all("demo" in node.holdings.versions.targets for node in (a, b)))
    cluster.write("a", "raise RuntimeError('broken')\n")
    done = await a.reload_nodes("demo")
    assert "demo:echo" in done[0].error
    assert done[1].note == "not asked, as node a has failed"
    await until(lambda: b.worker("echo").state is WorkerState.RUNNING)


async def test_a_node_that_does_not_answer_is_said(cluster, monkeypatch):
    monkeypatch.setattr(node_reloads, "WITHIN", 0.2)
    a, b = await cluster.join("a"), await cluster.join("b")
    b.bus.broker.cut_off()
    done = await a.reload_nodes("demo")
    b.bus.broker.heal()
    assert done[1].error.startswith("it was asked, and does not answer: ")


async def test_a_request_that_cannot_be_read_reloads_nothing(cluster):
    a = await cluster.join("a")
    answer = await a.bus.broker.messages.request("reload.a", b"[", 5)
    assert b"the request cannot be read" in answer


async def test_a_runtime_without_others_reloads_itself_alone_and_has_no_target(tmp_path):
    async with Runtime(port=None) as alone:
        await alone.load(make_capability(tmp_path / "demo", "echo: {path: echo.py}", {"echo.py": ECHO}))
        assert [one.is_reloaded for one in await alone.reload_nodes("demo")] == [True]
        with pytest.raises(Conflict, match="shares its broker with nobody"):
            await alone.make_target("demo")


async def test_the_api_reloads_all_nodes_and_chooses_the_version_that_they_run(cluster):
    a = await cluster.join("a")
    await cluster.join("b")
    headers = {"Authorization": "Bearer s3cret"}
    transport = httpx.ASGITransport(app=a.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        answer = await client.post("/api/nodes/reload?capability=demo")
        assert [(one["node"], one["is_reloaded"]) for one in answer.json()["nodes"]] == [
            ("a", True),
            ("b", True),
        ]
        answer = await client.post("/api/nodes/target?capability=demo")
        assert (answer.json()["version"], answer.json()["node"]) == ("0.1.0", "a")
        assert (await client.post("/api/nodes/target?capability=none")).status_code == 404
