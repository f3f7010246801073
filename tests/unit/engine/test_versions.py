"""Workers move to the nodes that have the version of a capability which the cluster is to run."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Runtime, WorkerState
from dnworker.core.clock import VirtualClock
from dnworker.core.errors import NotFound, NotStored
from dnworker.core.lifecycle import ALIVE
from dnworker.engine.digests import digest_of
from dnworker.engine.placement import Seat, Table
from dnworker.engine.versions import Loaded, Target, becomes_target, made_target, newest, order
from dnworker.testing import SharedBroker, SharedStore

from ..capabilities import make_capability

RUNNING, STANDBY = WorkerState.RUNNING, WorkerState.STANDBY
NAMES = ("one", "two", "three")
WORKERS = "\n".join(f"{name}: {{path: {name}.py}}" for name in NAMES)
GOOD = """
from pathlib import Path
from dnworker import Worker

worker = Worker()

@worker.on_startup
async def start(client):
    pass
"""
BROKEN = GOOD.replace("pass", "raise RuntimeError('the new one is broken')")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


class Cluster:
    """Nodes, each with its own directory of the capability `demo`."""

    def __init__(self, stack, directory):
        self.stack, self.directory, self.clock = stack, directory, VirtualClock()
        self.store = SharedStore(self.clock)
        self.nodes: dict[str, Runtime] = {}
        self.moved: list[set[str]] = []

    def write(self, name, version, text=GOOD):
        root = make_capability(
            self.directory / name, WORKERS, {f"{one}.py": f"{text}# {version}\n" for one in NAMES}
        )
        manifest = root / "capability.yaml"
        manifest.write_text(manifest.read_text().replace("0.1.0", version))
        return root

    async def join(self, name, version, text=GOOD):
        root = self.write(name, version, text)
        node = Runtime(port=None, broker=SharedBroker(self.store), clock=self.clock, node=name)
        await self.stack.enter_async_context(node)
        self.nodes[name] = node
        await node.load(root)
        await self.pass_by(1)
        return node

    async def leave(self, name):
        await self.nodes.pop(name).stop()
        await self.pass_by(2)

    def state(self, name, worker):
        found = self.nodes[name].capabilities.get("demo").workers
        return found[worker].state

    def held(self, name):
        return {worker for worker in NAMES if self.state(name, worker) is RUNNING}

    async def pass_by(self, seconds):
        """Let time pass; no worker ever runs twice, and one is away at a time."""
        for _ in range(round(seconds / 0.1)):
            await self.clock.advance(0.1)
            for worker in NAMES:
                running = [name for name in self.nodes if self.state(name, worker) in ALIVE]
                assert len(running) <= 1, f"{worker} runs on {running}"
            self.moved.append(set().union(*map(self.held, self.nodes)) if self.nodes else set())

    async def target(self):
        entry = await self.store.get("version.demo")
        return msgspec.json.decode(entry.value, type=Target)

    def lines(self, name, worker="one"):
        return [line.text for line in self.nodes[name].logs.tail(worker=f"demo:{worker}")]


@pytest.fixture
async def cluster(tmp_path):
    async with AsyncExitStack() as stack:
        yield Cluster(stack, tmp_path)


# -- a rolling upgrade ---------------------------------------------------------------------------------


async def test_a_node_with_a_new_version_gets_all_workers_one_at_a_time(cluster, caplog):
    await cluster.join("a", "0.1.0")
    await cluster.join("b", "0.1.0")
    await cluster.pass_by(40)
    cluster.moved.clear()
    caplog.clear()
    await cluster.join("c", "0.2.0")
    await cluster.pass_by(30)
    assert cluster.held("c") == set(NAMES)
    assert all(len(held) >= 2 for held in cluster.moved), cluster.moved
    assert (await cluster.target()).loaded.version == "0.2.0"
    said = [text for text in caplog.messages if "is the target now" in text]
    assert len(said) == 3, "each node says it"
    assert "version 0.2.0 (" in said[0]
    assert "of node c is the target now, it was 0.1.0 (" in said[0]
    former = next(name for name in "ab" if any("handed over" in line for line in cluster.lines(name)))
    assert any("is handed over to node c, from version 0.1.0 (" in line for line in cluster.lines(former))


async def test_a_rolling_upgrade_ends_with_the_load_spread_over_nodes_of_the_new_version(cluster):
    for name in "abc":
        await cluster.join(name, "0.1.0")
    await cluster.pass_by(40)
    for name in "abc":
        await cluster.leave(name)
        await cluster.join(name, "0.2.0")
        await cluster.pass_by(20)
        assert set().union(*map(cluster.held, cluster.nodes)) == set(NAMES)
    await cluster.pass_by(60)
    assert sorted(len(cluster.held(name)) for name in "abc") == [1, 1, 1]


async def test_an_old_node_that_starts_again_during_an_upgrade_takes_nothing_and_turns_nothing_back(cluster):
    await cluster.join("a", "0.1.0")
    cluster.write("b", "0.1.0")
    await cluster.join("c", "0.1.0", GOOD + "# another content of the same version\n")
    await cluster.pass_by(20)
    assert cluster.held("c") == set(NAMES)
    await cluster.leave("a")
    await cluster.join("a", "0.1.0")
    await cluster.pass_by(20)
    assert cluster.held("c") == set(NAMES)
    why = cluster.nodes["a"].worker("one").detail()["standby"]
    assert why == "node c holds it"


async def test_an_old_node_holds_what_no_node_of_the_new_version_can(cluster):
    await cluster.join("a", "0.1.0")
    await cluster.join("c", "0.2.0")
    await cluster.pass_by(20)
    assert cluster.held("c") == set(NAMES)
    await cluster.leave("c")
    assert cluster.held("a") == set(NAMES)
    assert (await cluster.target()).loaded.version == "0.2.0"
    await cluster.pass_by(35)
    assert (await cluster.target()).loaded.version == "0.1.0", "nobody has had the other for 30 s"
    await cluster.join("c", "0.2.0")
    await cluster.pass_by(20)
    assert cluster.held("c") == set(NAMES)


async def test_a_downgrade_is_asked_for_and_stays(cluster):
    a = await cluster.join("a", "0.1.0")
    await cluster.join("c", "0.2.0")
    await cluster.pass_by(20)
    await a.holdings.versions.make_target("demo")
    await cluster.pass_by(40)
    assert cluster.held("a") == set(NAMES)
    await cluster.leave("c")
    await cluster.join("c", "0.2.0")
    await cluster.pass_by(20)
    assert cluster.held("a") == set(NAMES)
    with pytest.raises(NotFound, match="no capability 'none' is loaded here"):
        await a.holdings.versions.make_target("none")
    a.bus.broker.cut_off()
    with pytest.raises(NotStored, match="is not the target: the broker is cut off"):
        await a.holdings.versions.make_target("demo")


async def test_a_reload_of_changed_files_makes_them_the_target_and_one_of_the_same_files_does_not(cluster):
    a = await cluster.join("a", "0.1.0")
    c = await cluster.join("c", "0.1.0")
    before = (await cluster.target()).loaded
    cluster.write("a", "0.1.0", GOOD + "# changed\n")
    await a.reload("demo")
    await cluster.pass_by(20)
    after = await cluster.target()
    assert (after.loaded != before, after.node) == (True, "a")
    assert cluster.held("a") == set(NAMES)
    await c.reload("demo")
    await cluster.pass_by(20)
    assert await cluster.target() == after


async def test_a_worker_that_fails_to_start_with_the_new_version_stays_with_the_old_and_is_said(
    cluster, caplog
):
    await cluster.join("a", "0.1.0")
    await cluster.join("b", "0.1.0")
    await cluster.pass_by(40)
    cluster.moved.clear()
    c = await cluster.join("c", "0.2.0", BROKEN)
    await cluster.pass_by(60)
    assert cluster.held("a") | cluster.held("b") == set(NAMES)
    assert all(len(held) >= 1 for held in cluster.moved), "never are all of them away"
    assert (await cluster.target()).failed == sorted(f"demo:{name}" for name in NAMES)
    said = [text for text in caplog.messages if "does not start with version 0.2.0" in text]
    assert len(said) == 3, "each is tried once"
    assert "the new one is broken" in said[0]
    assert c.worker("one").state is STANDBY
    await cluster.join("d", "0.2.0", BROKEN)
    await cluster.pass_by(60)
    assert len([t for t in caplog.messages if "does not start with" in t]) == 3, "nor on another node of it"
    cluster.write("c", "0.2.0")
    await c.reload("demo")
    await cluster.pass_by(60)
    assert cluster.held("c") == set(NAMES)


async def test_a_reload_that_breaks_a_worker_where_it_runs_gives_it_to_the_version_of_before(cluster):
    a = await cluster.join("a", "0.1.0")
    await cluster.join("b", "0.1.0")
    for name in ("a", "b"):
        assert cluster.nodes[name].capabilities.get("demo").digest is not None
    await cluster.pass_by(40)
    cluster.write("a", "0.2.0", BROKEN)
    await a.reload("demo")
    await cluster.pass_by(60)
    assert cluster.held("b") == set(NAMES)


async def test_a_worker_that_no_other_version_can_run_stays_in_error_where_it_is_seen(cluster):
    await cluster.join("c", "0.2.0", BROKEN)
    await cluster.pass_by(30)
    assert cluster.state("c", "one") is WorkerState.ERROR
    assert (await cluster.target()).failed == []


async def test_workers_that_fail_with_the_old_version_go_to_a_node_of_the_new_one_that_mends_them(cluster):
    await cluster.join("a", "0.1.0", BROKEN)
    assert {cluster.state("a", worker) for worker in NAMES} == {WorkerState.ERROR}
    await cluster.join("b", "0.2.0")
    await cluster.pass_by(30)
    assert cluster.held("b") == set(NAMES)


async def test_a_node_that_is_cut_off_makes_nothing_the_target(cluster):
    await cluster.join("a", "0.1.0")
    c = await cluster.join("c", "0.2.0")
    await cluster.pass_by(20)
    before = await cluster.target()
    cluster.nodes["a"].bus.broker.cut_off()
    await cluster.pass_by(60)
    cluster.nodes["a"].bus.broker.heal()
    await cluster.pass_by(10)
    assert await cluster.target() == before
    assert c.holdings.versions.targets["demo"] == before


async def test_a_target_that_cannot_be_read_is_said_once_and_written_anew(cluster, caplog):
    await cluster.store.put("version.demo", b"[]")
    await cluster.join("a", "0.1.0")
    await cluster.pass_by(5)
    assert (await cluster.target()).loaded.version == "0.1.0"
    assert len([t for t in caplog.messages if "version.demo cannot be read" in t]) == 1


# -- what decides --------------------------------------------------------------------------------------

VERSIONS = st.builds(
    Loaded,
    st.tuples(*[st.integers(0, 12)] * 3).map(lambda parts: ".".join(map(str, parts))),
    st.sampled_from(["d1", "d2", "d3", "d4"]),
)


@given(st.lists(VERSIONS, min_size=1, max_size=6, unique_by=lambda one: one.digest))
def test_nodes_that_start_in_turn_agree_on_one_target_and_stay_with_it(loaded):
    target, changes = None, 0
    for _ in range(4):
        for mine in loaded:
            if becomes_target(target, mine, is_news=False):
                target = made_target("demo", mine, target, node="a", since=0.0)
                changes += 1
    assert changes <= len(loaded)
    assert order(target.loaded.version) == max(order(one.version) for one in loaded)
    assert not any(becomes_target(target, mine, is_news=False) for mine in loaded)


def test_a_reload_takes_back_former_files_of_the_same_version_and_never_a_lower_version():
    first, second = Loaded("0.1.0", "d1"), Loaded("0.1.0", "d2")
    target = made_target(
        "demo", second, made_target("demo", first, None, node="a", since=0.0), node="a", since=1.0
    )
    assert becomes_target(target, first, is_news=True)
    assert not becomes_target(target, first, is_news=False)
    higher = made_target("demo", Loaded("0.2.0", "d3"), target, node="a", since=2.0)
    assert not becomes_target(higher, second, is_news=True)


async def test_a_lower_version_that_all_nodes_reload_runs_at_once_and_is_the_target_after_30_s(cluster):
    for name in ("a", "b"):
        await cluster.join(name, "0.2.0")
    for name in ("a", "b"):
        cluster.write(name, "0.1.0")
        await cluster.nodes[name].reload("demo")
    await cluster.pass_by(5)
    assert cluster.held("a") | cluster.held("b") == {*NAMES}
    assert (await cluster.target()).loaded.version == "0.2.0"
    await cluster.pass_by(30)
    assert (await cluster.target()).loaded.version == "0.1.0"


@given(st.lists(VERSIONS, max_size=6), st.randoms())
def test_the_newest_is_the_same_in_whatever_order(loaded, random):
    found = newest(loaded)
    random.shuffle(loaded)
    assert newest(loaded) == found


def test_versions_are_compared_as_numbers_of_any_length():
    assert order("0.10.0") > order("0.9.9")
    assert order("1.0.0") == order("01.0.0")
    assert order("9" * 5000 + ".0.0") > order("1.0.0")
    assert order("\x00.x") < order("0.0.1")


def test_workers_without_a_version_move_nowhere_because_of_one():
    loaded = Loaded("0.2.0", "new")
    target = made_target("demo", loaded, None, node="a", since=0.0)
    cells = Seat(node="n", holder="n/1", holds={"demo:one": 1}, wants=[])
    new = Seat(node="a", holder="a/1", wants=["demo:one"], versions={"demo": loaded})
    assert Table([cells, new], {"demo": target}).upgrade(cells, ["demo:one"]) is None


def test_a_digest_is_of_what_runs_wherever_it_is_and_of_nothing_else(tmp_path):
    def made(where, **more):
        root = make_capability(tmp_path / where, "echo: {path: echo.py}", {"echo.py": "x = 1\n", **more})
        manifest = SimpleNamespace(
            workers={"echo": SimpleNamespace(path="echo.py", command=None, args=[])}, raw={}
        )
        return digest_of(SimpleNamespace(root=root, manifest=manifest, name="demo"))

    first = made("one")
    assert made("two") == first
    (tmp_path / "one" / "data.sqlite").write_bytes(b"written by the worker")
    (tmp_path / "one" / "__pycache__").mkdir()
    (tmp_path / "one" / "__pycache__" / "echo.pyc").write_bytes(b"")
    assert made("one") == first
    assert made("three", **{"helper.py": ""}) != first
    assert made("four", **{"echo.py": "x = 2\n"}) != first


def test_the_members_of_a_worker_move_apart_to_nodes_of_the_new_version():
    old, new = Loaded("0.1.0", "a" * 32), Loaded("0.2.0", "b" * 32)
    target = made_target("demo", new, None, node="c", since=0.0)
    names = ["demo:one", "demo:one#1"]
    mine = Seat(node="a", holder="a/1", holds={names[1]: 1}, versions={"demo": old})
    has_one = Seat(node="b", holder="b/1", holds={names[0]: 1}, wants=names[1:], versions={"demo": new})
    more = {"demo:two": 1, "demo:three": 1}
    has_none = Seat(node="c", holder="c/1", holds=more, wants=names, versions={"demo": new})
    table = Table([mine, has_one, has_none], {"demo": target})
    assert table.upgrade(mine, names[1:]) == (names[1], has_none)
