"""Nodes that share a broker: who is there, who is gone, who has a name, and what is written of all that."""

from __future__ import annotations

import asyncio
import logging
import re

import msgspec
import pytest

from dnworker import Runtime, Worker
from dnworker.core.errors import Conflict, NotStored
from dnworker.core.handlers import HandlerKey
from dnworker.core.stats import HandlerStats
from dnworker.engine import nodes as nodes_module
from dnworker.engine.node_records import WORKERS_TOLD, bounded
from dnworker.engine.node_registration import BEAT, LIFETIME, NameTaken
from dnworker.engine.node_sightings import PASTS_KEPT
from dnworker.engine.node_timeline import MOVES_KEPT
from dnworker.testing import turn_loop

from .cluster import Cluster, a_worker


@pytest.fixture
async def cluster(monkeypatch):
    monkeypatch.setattr(nodes_module, "GAP", 0.0)
    made = Cluster()
    yield made
    await made.close()


def kinds(member):
    return [(move.kind, move.node) for move in member.nodes.moves()]


async def test_every_node_sees_all_with_version_labels_and_address(cluster):
    a = await cluster.member("a", labels=["gpu", "gpu"]).open()
    await cluster.member("b").open()
    await cluster.advance(BEAT)
    first, second = a.nodes.rows()
    assert (first.name, first.is_here, second.name, second.is_here) == ("a", True, "b", False)
    assert (first.labels, first.url, first.lag_ms) == (["gpu"], "http://a:8787", 1.2)
    assert re.fullmatch(r"\d+\..+", second.version)
    assert kinds(a) == [("joined", "a"), ("joined", "b")]


async def test_a_killed_node_is_gone_since_its_last_word_and_stays_listed_for_a_day(cluster):
    a, b = await cluster.open("a", "b")
    await cluster.advance(30)
    b.kill()
    died = cluster.clock.now().timestamp()
    await cluster.advance(LIFETIME + 2 * BEAT)
    row = a.row("b")
    assert (row.state, row.has_left) == ("gone", False)
    assert row.gone_at == pytest.approx(died, abs=2 * BEAT)
    assert kinds(a)[-1] == ("gone", "b")
    await cluster.advance(23 * 3600)
    assert a.states()["b"] == "gone"
    await cluster.advance(3600)
    assert "b" not in a.states()


async def test_two_who_see_a_node_go_write_it_once(cluster):
    a, b, c = await cluster.open("a", "b", "c")
    await cluster.advance(BEAT)
    c.kill()
    await cluster.advance(LIFETIME + 2 * BEAT)
    for member in (a, b):
        assert kinds(member).count(("gone", "c")) == 1
    assert a.row("c").gone_at == b.row("c").gone_at


async def test_a_node_that_went_while_nobody_was_there_says_when_it_was_there_last(cluster):
    (b,) = await cluster.open("b")
    await cluster.advance(90)
    b.kill()
    died = cluster.clock.now().timestamp()
    await cluster.advance(3600)
    (a,) = await cluster.open("a")
    row = a.row("b")
    assert (row.state, row.gone_at) == ("gone", None)
    assert row.seen_at == pytest.approx(died, abs=60 + BEAT)


async def test_a_node_that_ends_by_itself_has_left_at_once(cluster):
    a, b = await cluster.open("a", "b")
    await b.close()
    await cluster.advance(BEAT)
    assert (a.row("b").state, a.row("b").has_left) == ("gone", True)
    await cluster.advance(3 * LIFETIME)
    assert kinds(a) == [("joined", "a"), ("joined", "b"), ("left", "b")]


@pytest.mark.parametrize("off", [-300.0, 300.0])
async def test_a_node_whose_clock_is_five_minutes_off_lives_and_its_clock_is_said(cluster, off):
    (a,) = await cluster.open("a")
    await cluster.member("b", off).open()
    for _ in range(20):
        await cluster.advance(BEAT)
        assert a.states() == {"a": "up", "b": "up"}
    assert a.row("b").clock_off_sec == pytest.approx(off, abs=BEAT)
    assert a.row("a").clock_off_sec is None


@pytest.mark.parametrize("off", [-300.0, 300.0])
async def test_a_witness_whose_clock_is_off_sees_nobody_dead_and_notes_the_dead_by_its_own(cluster, off):
    a = await cluster.member("a", off).open()
    (b,) = await cluster.open("b")
    await cluster.advance(60)
    assert a.states() == {"a": "up", "b": "up"}
    b.kill()
    died = a.clock.now().timestamp()
    await cluster.advance(LIFETIME + 2 * BEAT)
    assert a.row("b").gone_at == pytest.approx(died, abs=2 * BEAT)


async def test_a_node_that_is_cut_off_sees_nobody_die_and_says_why_it_sees_nothing(cluster, caplog):
    a, b = await cluster.open("a", "b")
    await cluster.advance(BEAT)
    a.broker.cut_off()
    with caplog.at_level(logging.WARNING, "dnworker.nodes"):
        await cluster.advance(60)
    assert a.states() == {"a": "silent", "b": "silent"}
    assert "cut off" in (a.row("a").failure or "")
    assert len([r for r in caplog.records if "does not see" in r.message]) == 1
    assert b.row("a").state == "gone"
    a.broker.heal()
    await cluster.advance(2 * BEAT)
    assert a.states() == b.states() == {"a": "up", "b": "up"}
    assert (a.row("a").failure, a.nodes.failure) == (None, None)
    assert ("gone", "b") not in kinds(a)


async def test_a_node_that_was_thought_gone_and_then_dies_is_gone_since_its_death(cluster):
    a, b = await cluster.open("a", "b")
    await cluster.advance(BEAT)
    b.broker.cut_off()
    await cluster.advance(LIFETIME + 2 * BEAT)
    b.broker.heal()
    await cluster.advance(2 * BEAT)
    assert a.row("b").state == "up"
    b.kill()
    died = cluster.clock.now().timestamp()
    await cluster.advance(LIFETIME + 2 * BEAT)
    assert a.row("b").gone_at == pytest.approx(died, abs=2 * BEAT)
    assert kinds(a).count(("gone", "b")) == 2


async def test_a_death_is_noted_later_where_the_broker_fails_at_that_moment(cluster, monkeypatch):
    a, b = await cluster.open("a", "b")
    await cluster.advance(BEAT)
    b.kill()

    async def fails(key):
        raise NotStored("not now")

    with monkeypatch.context() as patch:
        patch.setattr(a.broker, "get", fails)
        await cluster.advance(LIFETIME + 2 * BEAT)
        assert a.row("b").gone_at is None
    await cluster.advance(2 * BEAT)
    assert a.row("b").gone_at is not None


async def test_a_record_of_another_name_than_its_key_or_of_a_megabyte_is_left_out(cluster):
    (a,) = await cluster.open("a")
    record = (await cluster.store.get("node.a")).value
    await cluster.store.put("node.b", record)
    await cluster.store.put("node.c", record.replace(b'"a"', b'"c"') + b" " * 1_000_000)
    await cluster.advance(BEAT)
    assert a.states() == {"a": "up"}


async def test_nobody_is_gone_where_the_broker_was_away_for_all(cluster):
    members = await cluster.open("a", "b", "c")
    await cluster.advance(BEAT)
    for member in members:
        member.broker.cut_off()
    await cluster.advance(5 * LIFETIME)
    for member in members:
        member.broker.heal()
        await cluster.advance(0.7)  # one after the other
    await cluster.advance(2 * LIFETIME)
    for member in members:
        assert member.states() == {"a": "up", "b": "up", "c": "up"}
        assert {kind for kind, _ in kinds(member)} == {"joined"}


async def test_who_dies_while_the_broker_is_away_is_gone_once_it_is_back(cluster):
    a, b = await cluster.open("a", "b")
    await cluster.advance(BEAT)
    a.broker.cut_off()
    b.kill()
    died = cluster.clock.now().timestamp()
    await cluster.advance(5 * LIFETIME)
    a.broker.heal()
    await cluster.advance(BEAT)
    assert a.states() == {"a": "up", "b": "silent"}
    await cluster.advance(LIFETIME + BEAT)
    assert a.row("b").gone_at == pytest.approx(died, abs=2 * BEAT)
    assert kinds(a)[-1] == ("gone", "b")


async def test_a_node_that_others_thought_gone_says_that_it_is_back(cluster):
    a, b = await cluster.open("a", "b")
    await cluster.advance(BEAT)
    b.broker.cut_off()
    await cluster.advance(LIFETIME + 2 * BEAT)
    b.broker.heal()
    await cluster.advance(3 * BEAT)
    assert kinds(a) == kinds(b) == [("joined", "a"), ("joined", "b"), ("gone", "b"), ("back", "b")]


async def test_nobody_is_gone_by_a_list_that_ends_while_the_broker_is_away(cluster, monkeypatch):
    a, _ = await cluster.open("a", "b")
    await cluster.advance(BEAT)

    async def no_entries(prefix):
        return []

    async def away(*args, **more):
        raise NotStored("no server")

    with monkeypatch.context() as patch:
        patch.setattr(a.broker, "entries", no_entries)
        patch.setattr(a.broker, "get", away)
        await cluster.advance(BEAT)
        assert a.states() == {"a": "up", "b": "up"}
        patch.setattr(a.broker, "put", away)
        await cluster.advance(LIFETIME + BEAT)
        await a.nodes.read()
        assert a.states() == {"a": "silent", "b": "silent"}
    await cluster.advance(2 * BEAT)
    assert a.states() == {"a": "up", "b": "up"}


async def test_a_second_node_of_a_name_is_refused_in_one_line_and_harms_nobody(cluster):
    (a,) = await cluster.open("a")
    second = cluster.member("a")
    await second.broker.open("run")
    task = asyncio.ensure_future(second.nodes.open())
    await cluster.advance(BEAT + 1)
    with pytest.raises(NameTaken) as refused:
        await task
    assert "\n" not in str(refused.value)
    assert "--node NAME" in str(refused.value)
    assert not second.nodes.is_open
    await second.close()
    await cluster.advance(3 * LIFETIME)
    assert a.states() == {"a": "up"}


async def test_a_node_that_starts_again_after_a_kill_gets_its_name_back(cluster):
    (first,) = await cluster.open("a")
    await cluster.advance(BEAT)
    first.kill()
    again = cluster.member("a")
    await again.broker.open("run")
    task = asyncio.ensure_future(again.nodes.open())
    began = cluster.clock.monotonic()
    while not task.done():
        await cluster.advance(0.5)
    await task
    assert cluster.clock.monotonic() - began <= LIFETIME + 0.5
    assert (again.row("a").state, again.row("a").instance) == ("up", again.nodes.instance)


async def test_a_name_whose_record_the_broker_never_drops_is_taken_over(cluster):
    (first,) = await cluster.open("a")
    first.kill()
    stale = await cluster.store.get("node.a")
    await cluster.store.put("node.a", stale.value)  # without an end
    again = cluster.member("a")
    await again.broker.open("run")
    task = asyncio.ensure_future(again.nodes.open())
    await cluster.advance(LIFETIME + 4)
    await task
    assert again.states() == {"a": "up"}


async def test_a_paused_node_whose_name_another_took_does_not_take_it_back(cluster, caplog):
    (first,) = await cluster.open("a")
    first.broker.cut_off()
    await cluster.advance(LIFETIME + 1)
    second = await cluster.member("a").open()
    first.broker.heal()
    with caplog.at_level(logging.WARNING, "dnworker.nodes"):
        await cluster.advance(3 * LIFETIME)
    assert second.row("a").instance == second.nodes.instance
    assert "--node NAME" in (first.nodes.failure or "")
    await first.close()
    await cluster.advance(BEAT)
    assert second.states() == {"a": "up"}


async def test_a_write_whose_answer_was_lost_is_known_as_the_own_one(cluster):
    (a,) = await cluster.open("a")
    entry = await cluster.store.get("node.a")
    await cluster.store.put("node.a", entry.value, seconds=LIFETIME)
    await cluster.advance(2 * BEAT)
    assert (a.nodes.failure, a.states()) == (None, {"a": "up"})


async def test_what_a_node_holds_is_told_at_once_with_what_waits(cluster):
    a, b = await cluster.open("a", "b")
    end = b.nodes.listen(lambda: None)
    key = HandlerKey("on_event", "demo.x", "on_x")
    stats = HandlerStats(calls=7, errors=2, in_flight=3)
    a.hold("demo:bridge", 4)
    a.workers = [a_worker("demo:bridge", waiting=5, stats={key: stats})]
    a.nodes.notify()
    await turn_loop(64)
    row = b.row("a")
    (held,) = row.workers
    assert (held.worker, held.state, held.fence) == ("demo:bridge", "running", 4)
    assert (held.backlog, held.pending, held.handled, held.failed) == (5, 3, 4, 2)
    assert (row.held, row.backlog, row.pending) == (1, 5, 3)
    end()


async def test_nodes_that_look_on_do_not_wake_each_other_for_ever(cluster):
    a, b = await cluster.open("a", "b")
    ends = [a.nodes.listen(lambda: None), b.nodes.listen(lambda: None)]
    await cluster.advance(BEAT)
    await turn_loop(200)
    before = (await cluster.store.get("node.a")).revision, (await cluster.store.get("node.b")).revision
    await turn_loop(500)
    after = (await cluster.store.get("node.a")).revision, (await cluster.store.get("node.b")).revision
    assert before == after
    for end in ends:
        end()


async def test_the_timeline_tells_a_failover_from_a_hand_over(cluster):
    a, b = await cluster.open("a", "b")
    a.hold("demo:w", 1)
    a.hold("demo:v", 1)
    await cluster.advance(2 * BEAT)
    a.holding.all = [one for one in a.holding.all if one.worker != "demo:v"]
    b.hold("demo:v", 2)
    await cluster.advance(BEAT)
    a.kill()
    await cluster.advance(LIFETIME)
    b.hold("demo:w", 2)
    await cluster.advance(2 * BEAT)
    steps = [(m.kind, m.worker, m.before, m.node, m.fence) for m in b.nodes.moves() if m.worker]
    assert steps == [
        ("started", "demo:w", None, "a", 1),
        ("started", "demo:v", None, "a", 1),
        ("moved", "demo:v", "a", "b", 2),
        ("failover", "demo:w", "a", "b", 2),
    ]


async def test_who_decides_says_itself_what_a_failover_is(cluster):
    (a,) = await cluster.open("a")
    a.hold("demo:w", 2, before="x", is_failover=False)
    a.hold("demo:v", 3, before="x", is_failover=True)
    await cluster.advance(BEAT)
    assert [m.kind for m in a.nodes.moves() if m.worker] == ["moved", "failover"]


async def test_a_step_that_is_told_is_written_at_once_and_once(cluster):
    a, b = await cluster.open("a", "b")
    a.nodes.note("demo:w", 4, "x", "failover")
    await turn_loop(64)
    await b.nodes.read()
    a.hold("demo:w", 4)
    await cluster.advance(2 * BEAT)
    steps = [(m.kind, m.before, m.fence) for m in b.nodes.moves() if m.worker]
    assert steps == [("failover", "x", 4)]
    a.nodes.note("demo:w", 5, None, "started")
    a.nodes.note("demo:w", 6, "a", "failover")  # itself, before it started again
    await cluster.advance(BEAT)
    assert [m.kind for m in b.nodes.moves() if m.worker] == ["failover", "started", "started"]


@pytest.mark.parametrize("who", ["held", "listener"])
async def test_an_error_of_others_is_logged_and_the_node_goes_on(cluster, monkeypatch, caplog, who):
    a, b = await cluster.open("a", "b")

    def fails():
        raise ZeroDivisionError(who)

    with caplog.at_level(logging.ERROR, "dnworker.nodes"):
        if who == "held":
            monkeypatch.setattr(a.holding, "held", fails)
        else:
            a.nodes.listen(fails)
        a.nodes.notify()
        await cluster.advance(3 * LIFETIME)
    assert f"ZeroDivisionError: {who}" in caplog.text
    assert b.states()["a"] == "up"
    assert all(not task.done() for task in a.nodes._tasks)
    monkeypatch.undo()
    await cluster.advance(2 * BEAT)
    assert b.states()["a"] == "up"


async def test_without_numbers_each_start_of_a_worker_is_a_step(cluster):
    (a,) = await cluster.open("a")
    for _ in range(2):
        a.hold("demo:w", None)
        await cluster.advance(BEAT)
        a.holding.all, a.workers = [], []
        await cluster.advance(BEAT)
    assert [m.kind for m in a.nodes.moves() if m.worker] == ["started", "started"]


async def test_the_timeline_keeps_the_newest_steps_of_all_nodes(cluster):
    a, b = await cluster.open("a", "b")
    for turn in range(30):
        for member in (a, b):
            member.holding.all, member.workers = [], []
            for n in range(10):
                member.hold(f"demo:w{turn}-{n}-{member.nodes.name}", turn + 1)
        await cluster.advance(BEAT)
    assert len(a.nodes.moves()) == MOVES_KEPT
    newest = [move.worker for move in b.nodes.moves()[-20:]]
    assert all(worker.startswith("demo:w29-") for worker in newest)
    stored = await cluster.store.entries("timeline.")
    assert sum(len(msgspec.json.decode(one.value)) for one in stored) <= MOVES_KEPT + 20


async def test_steps_that_could_not_be_written_come_once_when_they_can(cluster):
    a, b = await cluster.open("a", "b")
    a.broker.cut_off()
    a.hold("demo:w", 1)
    await cluster.advance(4)
    a.broker.heal()
    await cluster.advance(3 * BEAT)
    assert [m.worker for m in b.nodes.moves() if m.worker] == ["demo:w"]


async def test_what_no_node_of_this_version_wrote_is_left_out_and_said_once(cluster, caplog):
    await cluster.store.put("node.x", b"\xff{")
    await cluster.store.put("past.y", b"[]")
    await cluster.store.put("timeline.z", b'{"a": 1}')
    with caplog.at_level(logging.WARNING, "dnworker.nodes"):
        (a,) = await cluster.open("a")
        await cluster.advance(5 * BEAT)
    assert a.states() == {"a": "up"}
    assert len([r for r in caplog.records if "cannot be read" in r.message]) == 3


async def test_records_of_later_versions_with_more_fields_are_read(cluster):
    (a,) = await cluster.open("a")
    record = msgspec.json.decode((await cluster.store.get("node.a")).value)
    more = record | {"name": "later", "instance": "i", "colour": "red"}
    await cluster.store.put("node.later", msgspec.json.encode(more), seconds=LIFETIME)
    await cluster.advance(BEAT)
    assert a.states()["later"] == "up"


async def test_nodes_that_are_gone_are_bounded(cluster):
    (a,) = await cluster.open("a")
    past = (await cluster.store.get("past.a")).value
    for n in range(PASTS_KEPT + 20):
        one = msgspec.json.decode(past) | {"name": f"old{n}", "instance": f"i{n}"}
        await cluster.store.put(f"past.old{n}", msgspec.json.encode(one))
    await cluster.advance(BEAT)
    gone = [row.name for row in a.nodes.rows() if row.state == "gone"]
    assert len(gone) == PASTS_KEPT
    assert "old0" not in gone


async def test_a_close_does_not_wait_for_a_broker_that_does_not_answer(cluster, monkeypatch):
    monkeypatch.setattr(nodes_module, "END_WITHIN", 0.01)
    (a,) = await cluster.open("a")

    async def never(*args, **more):
        await asyncio.Event().wait()

    monkeypatch.setattr(a.broker, "get", never)
    await asyncio.wait_for(a.nodes.close(), 10)
    assert not a.nodes.is_open


async def test_a_look_that_hangs_is_given_up_and_the_node_goes_on(cluster, monkeypatch):
    monkeypatch.setattr(nodes_module, "LONGEST_CALL", 0.01)
    (a,) = await cluster.open("a")

    async def never(*args, **more):
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(a.broker, "put", never)
        await a.nodes.look()
        assert "TimeoutError" in (a.nodes.failure or "")
    await a.nodes.look()
    assert a.nodes.failure is None


async def test_a_record_lists_the_workers_with_most_that_waits_and_counts_the_rest(cluster):
    (a,) = await cluster.open("a")
    for n in range(1_000):
        a.hold(f"demo:w{n}", 1)
    a.workers[-1].waiting = 9
    await cluster.advance(BEAT)
    row = a.row("a")
    assert (row.held, len(row.workers), row.backlog) == (1_000, WORKERS_TOLD, 9)
    assert "demo:w999" in [one.worker for one in row.workers]
    assert [one.worker for one in bounded(row.workers)] == [one.worker for one in row.workers]


async def test_a_node_has_another_name_only_while_it_is_not_there(cluster):
    (a,) = await cluster.open("a")
    with pytest.raises(Conflict, match="'a'"):
        a.nodes.be("c")
    await a.close()
    a.nodes.be("c", ["gpu"])
    await a.open()
    assert (a.row("c").labels, a.row("a").has_left) == (["gpu"], True)


# -- with a runtime ------------------------------------------------------------------------------------


async def test_a_runtime_over_memory_is_no_node_and_starts_nothing():
    async with Runtime(port=None) as runtime:
        assert not runtime.nodes.is_open
        assert runtime.nodes.rows() == []
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("dnworker node")]


async def test_runtimes_that_share_a_broker_see_at_once_what_each_other_runs(cluster, monkeypatch):
    monkeypatch.setattr(nodes_module, "BEAT", 3_600.0)
    one = Runtime(port=0, broker=cluster.member("x").broker, node="one", labels=["gpu"])
    two = Runtime(port=None, broker=cluster.member("y").broker, node="two")
    async with one, two:
        await one.add(Worker("bridge"))
        async with asyncio.timeout(10):
            while not (rows := [r for r in two.nodes.rows() if r.name == "one"]) or not rows[0].held:
                await two.nodes.read()
                await asyncio.sleep(0.01)
        assert (rows[0].labels, rows[0].workers[0].worker) == (["gpu"], "notebook:bridge")
        assert rows[0].url == one.url
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("dnworker node")]


async def test_a_runtime_whose_name_is_taken_does_not_start_and_lets_go_of_its_broker(cluster):
    (a,) = await cluster.open("a")
    broker = cluster.member("x").broker
    refused = Runtime(port=None, broker=broker, clock=cluster.clock, node="a")
    starting = asyncio.ensure_future(refused.start())
    await cluster.advance(BEAT + 1)
    with pytest.raises(NameTaken):
        await starting
    assert broker not in cluster.store.brokers
    assert a.states() == {"a": "up"}
