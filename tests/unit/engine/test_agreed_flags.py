"""A flag that is set on one node of a cluster counts on all."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import msgspec
import pytest

from dnworker import Runtime, WorkerState
from dnworker.capability.flags import read_persisted
from dnworker.core.clock import VirtualClock
from dnworker.core.errors import NotStored
from dnworker.engine.capability import state_file
from dnworker.testing import SharedBroker, SharedStore

from ..capabilities import ECHO, make_capability
from .clusters import until

FLAGS = "flags:\n  relay: {description: gate}\n  loud: {description: louder}\n"
KEY = "flags.demo"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


class Cluster:
    """Nodes that have loaded one capability, whose worker waits for the flag `relay`."""

    def __init__(self, stack, directory):
        self.stack, self.clock = stack, VirtualClock()
        self.store = SharedStore(self.clock)
        self.root = make_capability(
            directory / "demo", "echo: {path: echo.py, when: [relay]}", {"echo.py": ECHO}, FLAGS
        )

    async def join(self, name, **options):
        node = Runtime(port=None, broker=SharedBroker(self.store), clock=self.clock, node=name, **options)
        await self.stack.enter_async_context(node)
        await node.load(self.root)
        return node


@pytest.fixture
async def cluster(tmp_path):
    async with AsyncExitStack() as stack:
        yield Cluster(stack, tmp_path)


def flag(node, name="relay"):
    found = node.capabilities.get("demo").flags[name]
    return found.effective, found.source


async def test_a_flag_that_is_set_on_one_node_counts_on_all_and_opens_their_gates(cluster):
    a, b = await cluster.join("a"), await cluster.join("b")
    assert b.worker("echo").state is WorkerState.GATED_OFF
    await a.set_flag("demo", "relay", True)
    assert flag(a) == (True, "binding")
    assert a.worker("echo").state is WorkerState.RUNNING
    await until(lambda: b.worker("echo").state is WorkerState.STANDBY)
    assert flag(b) == (True, "binding")
    await b.set_flag("demo", "relay", False)
    await until(lambda: a.worker("echo").state is WorkerState.GATED_OFF)
    assert b.worker("echo").state is WorkerState.GATED_OFF


async def test_it_is_kept_for_the_cluster_and_not_for_this_user(cluster):
    a = await cluster.join("a")
    await a.set_flag("demo", "relay", True)
    assert read_persisted(state_file(), "demo") == {}
    await a.stop()
    b = await cluster.join("b")
    assert flag(b) == (True, "binding")
    await cluster.clock.advance(15)  # the lease of the first, where it is not given back
    await until(lambda: b.worker("echo").state is WorkerState.RUNNING)


async def test_what_a_node_was_told_at_its_start_counts_there_before_it(cluster):
    a = await cluster.join("a")
    b = await cluster.join("b", flags={"demo": {"relay": False}})
    await a.set_flag("demo", "relay", True)
    await until(lambda: b.capabilities.get("demo").is_agreed("relay"))
    assert flag(a) == (True, "binding")
    assert flag(b) == (False, "cli")
    assert b.worker("echo").state is WorkerState.GATED_OFF


async def test_flags_that_nodes_set_at_once_all_count(cluster):
    a, b = await cluster.join("a"), await cluster.join("b")
    await asyncio.gather(
        a.set_flag("demo", "relay", True),
        b.set_flag("demo", "loud", True),
        *(node.set_flag("demo", name, True) for node in (a, b) for name in ("relay", "loud")),
    )
    await until(lambda: all(flag(node, name)[0] for node in (a, b) for name in ("relay", "loud")))


async def test_of_one_flag_that_nodes_set_at_once_all_have_the_same_value_at_last(cluster):
    a, b = await cluster.join("a"), await cluster.join("b")
    for _ in range(5):
        await asyncio.gather(a.set_flag("demo", "relay", True), b.set_flag("demo", "relay", False))
        stored = msgspec.json.decode((await cluster.store.get(KEY)).value)["flags"]["relay"]["value"]
        await until(lambda stored=stored: flag(a)[0] == flag(b)[0] == stored)


async def test_a_node_that_is_cut_off_sets_none_and_has_what_the_others_set_when_it_is_back(cluster):
    a, b = await cluster.join("a"), await cluster.join("b")
    b.bus.broker.cut_off()
    with pytest.raises(NotStored, match="demo.relay is not set.*cut off"):
        await b.set_flag("demo", "relay", True)
    assert flag(b) == (False, "default")
    await a.set_flag("demo", "relay", True)
    assert flag(b) == (False, "default")
    b.bus.broker.heal()
    await until(lambda: flag(b)[0])


async def test_a_value_that_cannot_be_read_does_not_count_and_is_said_once(cluster, caplog):
    a = await cluster.join("a")
    await cluster.store.put(KEY, b"{")
    await until(lambda: caplog.messages)
    await cluster.clock.advance(20)
    (said,) = [text for text in caplog.messages if "flags" in text]
    assert "flags.demo cannot be read, and do not count" in said
    await a.set_flag("demo", "relay", True)
    assert flag(a) == (True, "binding")


async def test_what_a_notebook_sets_of_its_own_workers_stays_there(cluster):
    a, notebook = await cluster.join("a"), await cluster.join("b")
    live = notebook.capability("tried")
    live.declare(
        notebook.capabilities.get("demo").manifest.__class__(
            cluster.root, "tried", "0.1.0", "", flags=notebook.capabilities.get("demo").manifest.flags
        )
    )
    await notebook.set_flag("tried", "relay", True)
    assert live.flags["relay"].effective
    assert "tried" not in a.capabilities.agreed
    assert await cluster.store.get("flags.tried") is None


async def test_without_other_nodes_a_flag_is_kept_for_this_user(cluster):
    async with Runtime(port=None) as alone:
        await alone.load(cluster.root)
        await alone.set_flag("demo", "relay", True)
        assert read_persisted(state_file(), "demo") == {"relay": True}
