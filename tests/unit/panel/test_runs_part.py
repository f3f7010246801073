"""The list of runs as a view gets it: one row a first event with all it caused, and only what changed."""

from __future__ import annotations

import asyncio
import time

import pytest

from dnworker import Runtime, Worker
from dnworker.core.clock import VirtualClock
from dnworker.panel import pace, run_rows, runs_part
from dnworker.panel.pace import Pace
from dnworker.panel.run_part import run_to_json
from dnworker.panel.runs_part import follow


@pytest.fixture
async def shop(runtime):
    """Handlers that publish in turn; the last one fails on what it does not like."""
    worker = Worker("shop")

    @worker.on_event("order.placed")
    async def price(event, client):
        await client.publish("order.priced", event.payload)

    @worker.on_event("order.priced")
    async def ship(event, client):
        if event.payload.get("bad"):
            raise ValueError("bad order")

    return await runtime.add(worker)


async def rows_of(runtime, **wanted):
    return (await follow(runtime.feed.model, {"filter": wanted}).changes(Pace()))["rows"]


async def test_a_run_is_one_row_with_all_that_it_caused(runtime, shop):
    event = (await runtime.fire("order.placed", {"id": "ord-1", "items": [1, 2]}, session_id="ops")).event
    (row,) = await rows_of(runtime)
    assert (row["id"], row["seq"], row["kind"]) == (event.event_id, event.seq, "order.placed")
    assert (row["outcome"], row["events"], row["calls"], row["failed"]) == ("ok", 2, 2, 0)
    assert (row["text"], row["session"]) == ("ord-1, 2 items", "ops")
    assert row["duration"] > 0
    assert len(row["mini"]) == 2
    for start, waited, ran, failed in row["mini"]:
        assert 0 <= start <= 1
        assert 0 <= waited <= 1
        assert 0 <= ran <= 1
        assert failed is False


async def test_one_failed_call_makes_the_run_failed(runtime, shop):
    await runtime.fire("order.placed", {"bad": True})
    (row,) = await rows_of(runtime)
    assert (row["outcome"], row["failed"], row["calls"]) == ("failed", 1, 2)
    assert [failed for *_, failed in row["mini"]].count(True) == 1


async def test_what_runs_is_running_and_then_it_is_not(runtime, screen, go):
    await screen.open(looks={"runs": {}})
    await runtime.fire("demo.slow", wait=False)
    part = await screen.part("runs", lambda part: part["rows"] and part["rows"][0]["calls"])
    assert part["rows"][0]["outcome"] == "running"
    assert part["rows"][0]["duration"] is None
    assert part["counts"] == {"all": 1, "failed": 0, "running": 1, "unheard": 0}
    go.set()
    part = await screen.part("runs", lambda part: part["counts"]["running"] == 0)
    assert part["rows"][0]["outcome"] == "ok"
    assert not part["whole"]


async def test_only_rows_that_changed_are_sent_again(runtime, shop, screen):
    await runtime.fire("order.placed", {"id": "first"})
    snapshot = await screen.open(looks={"runs": {}})
    assert snapshot["runs"]["whole"]
    assert [row["text"] for row in snapshot["runs"]["rows"]] == ["first"]
    await runtime.fire("order.placed", {"id": "second"})
    part = await screen.part("runs", lambda part: part["rows"] and part["rows"][0]["duration"] is not None)
    assert not part["whole"]
    assert [row["text"] for row in part["rows"]] == ["second"]
    assert part["counts"]["all"] == 2


async def test_of_many_changes_the_newest_rows_are_sent_and_older_ones_when_asked_for(
    runtime, shop, screen, monkeypatch
):
    monkeypatch.setattr(runs_part, "ROWS_AT_ONCE", 3)
    await screen.open(looks={"runs": {}})
    for n in range(8):
        runtime.publish("order.placed", {"id": f"n{n}"})
    await runtime.settle()
    part = await screen.part("runs", lambda part: part["counts"]["all"] == 8)
    assert part["whole"]
    assert [row["text"] for row in part["rows"]] == ["n7", "n6", "n5"]
    answer = await screen.ask("older", before=part["rows"][-1]["seq"])
    assert [row["text"] for row in answer["rows"]] == ["n4", "n3", "n2", "n1", "n0"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["c", "b", "a"]),
        ({"kind": "PRICED"}, ["b", "a"]),
        ({"worker": "shop"}, ["b", "a"]),
        ({"session": "s"}, ["b"]),
        ({"payload": 'needle "x"'}, ["a"]),
        ({"words": ["NEEDLE"]}, ["a"]),
        ({"words": ["shop", "s1"]}, ["b"]),
        ({"outcome": "failed"}, ["b"]),
        ({"outcome": "unheard"}, ["c"]),
        ({"since": 1e15}, []),
        ({"until": 1}, []),
        ({"last": 600}, ["c", "b", "a"]),
    ],
    ids=str,
)
async def test_a_filter_takes_the_runs_that_match_and_counts_them_by_segment(runtime, shop, wanted, found):
    await runtime.fire("order.placed", {"id": "a", "note": 'a Needle "X"'})
    await runtime.fire("order.placed", {"id": "b", "bad": True}, session_id="s1")
    await runtime.fire("order.lost", {"id": "c"})
    follower = follow(runtime.feed.model, {"filter": wanted})
    part = await follower.changes(Pace())
    assert [row["text"].partition(",")[0] for row in part["rows"]] == found
    if "outcome" in wanted:
        assert part["counts"] == {"all": 3, "failed": 1, "running": 0, "unheard": 1}
    else:
        assert part["counts"]["all"] == len(found)


async def test_the_slowest_come_first_on_request(runtime, shop):
    for n in range(4):
        await runtime.fire("order.placed", {"id": f"n{n}"})
    rows = await rows_of(runtime, order="slowest")
    durations = [row["duration"] for row in rows]
    assert durations == sorted(durations, reverse=True)
    assert len(rows) == 4


async def test_the_runtimes_own_events_are_folded_away_until_they_are_wanted(runtime, shop):
    runtime.bus.publish("component.state_changed", {"state": "running"})
    own = [row["kind"] for row in await rows_of(runtime, own=True)]
    assert "component.state_changed" in own
    assert await rows_of(runtime) == []


async def test_a_filter_that_is_none_is_refused_and_the_one_before_stays(runtime, shop, screen, caplog):
    await screen.open(looks={"runs": {}})
    screen.say("look", part="runs", wanted={"filter": {"since": "yesterday"}})
    assert "no filter of runs" in caplog.text
    await runtime.fire("order.placed", {})
    assert (await screen.part("runs", lambda part: part["counts"]["all"] == 1))["filter"]["since"] is None


async def test_a_run_whose_first_event_is_kept_no_more_leaves(runtime, shop, screen, monkeypatch):
    monkeypatch.setattr("dnworker.events.history.EVENTS_KEPT", 10)
    await runtime.fire("order.placed", {"id": "old"})
    snapshot = await screen.open(looks={"runs": {}})
    gone = snapshot["runs"]["rows"][0]["id"]
    for n in range(6):
        await runtime.fire("order.placed", {"id": f"n{n}"})
    seen = set()
    while gone not in seen:
        seen |= set((await screen.part("runs"))["gone"])
    part = await follow(runtime.feed.model, {}).changes(Pace())
    assert part["counts"]["all"] == len(part["rows"]) <= 5
    assert gone not in {row["id"] for row in part["rows"]}


async def test_an_event_that_only_a_stopped_worker_hears_says_so(runtime, shop):
    await runtime.worker("shop").stop()
    await runtime.fire("order.placed", {})
    (row,) = await rows_of(runtime)
    assert (row["outcome"], row["why"]) == ("none", "notebook:shop is stopped")


async def test_an_event_that_only_a_gated_worker_hears_says_so(tmp_path):
    root = tmp_path / "ops"
    root.mkdir()
    (root / "capability.yaml").write_text(
        "schema: 1\nname: ops\nversion: 0.1.0\ndescription: d\n"
        "flags: {beta: {description: d, default: false}}\n"
        "workers:\n  alerts: {path: alerts.py, when: [beta]}\n"
    )
    (root / "alerts.py").write_text(
        "from dnworker import Worker\nworker = Worker()\n\n"
        '@worker.on_event("alert.raised")\nasync def on_alert(event, client): ...\n\n'
        'if __name__ == "__main__":\n    worker.run()\n'
    )
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        await runtime.fire("alert.raised", {})
        await runtime.fire("alert.other", {})
        by_kind = {row["kind"]: row for row in await rows_of(runtime)}
    assert by_kind["alert.raised"]["why"] == "ops:alerts is gated off"
    assert by_kind["alert.other"]["why"] is None


async def test_a_chain_of_events_is_one_run(runtime):
    worker = Worker("chain")

    @worker.on_event("count")
    async def count(event, client):
        if event.payload["n"]:
            await client.publish("count", {"n": event.payload["n"] - 1})

    await runtime.add(worker)
    await runtime.fire("count", {"n": 300})
    (row,) = await rows_of(runtime)
    assert (row["events"], row["calls"]) == (301, 301)
    assert len(row["mini"]) == run_rows.BARS_SHOWN


async def test_the_loop_turns_while_thousands_of_runs_are_looked_at(runtime, shop):
    for n in range(3_000):
        runtime.publish("order.placed", {"id": f"n{n}"})
    await runtime.settle(timeout=60)
    turns, looking = 0, asyncio.create_task(rows_of(runtime))
    while not looking.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(looking.result()) == runs_part.ROWS_AT_ONCE
    assert turns > 5


class Rests(Pace):
    """Counts how often the loop could have turned."""

    def __init__(self):
        super().__init__()
        self.count = 0

    async def rest(self):
        self.count += 1


async def test_the_loop_may_turn_after_each_run_that_is_dropped_or_compared(runtime, shop, monkeypatch):
    monkeypatch.setattr("dnworker.events.history.EVENTS_KEPT", 50)
    follower = follow(runtime.feed.model, {"filter": {"order": "slowest"}})
    for n in range(25):
        runtime.publish("order.placed", {"id": f"n{n}"})
    await runtime.settle()
    await follower.changes(Pace())
    runs = runtime.feed.model.runs
    before = len(runs.runs)
    for n in range(50):
        runtime.publish("nobody.hears", {"id": f"n{n}"})
    await runtime.settle()
    await runs.sync(dropping := Rests())
    assert dropping.count > before + len(runs.runs)
    rows = (await follower.changes(comparing := Rests()))["rows"]
    assert len(rows) == len(runs.runs)
    assert comparing.count > 2 * len(rows)


async def test_what_was_never_shown_is_not_said_to_be_gone(runtime, shop, monkeypatch):
    monkeypatch.setattr("dnworker.events.history.EVENTS_KEPT", 20)
    follower = follow(runtime.feed.model, {"filter": {"outcome": "failed"}})
    await runtime.fire("order.placed", {"id": "x", "bad": True})
    (row,) = (await follower.changes(Pace()))["rows"]
    for n in range(30):
        await runtime.fire("order.placed", {"id": f"n{n}"})
    assert (await follower.changes(Pace()))["gone"] == [row["id"]]
    for n in range(30):
        await runtime.fire("order.placed", {"id": f"n{n}"})
    assert (await follower.changes(Pace()) or {"gone": []})["gone"] == []


async def test_who_would_have_heard_is_looked_up_once_a_look(runtime, shop, monkeypatch):
    looks = []
    index = runtime.feed.model.runs
    look = index._unheard.look
    monkeypatch.setattr(index._unheard, "look", lambda pace: looks.append(1) or look(pace))
    for n in range(40):
        runtime.publish(f"nobody.hears.{n}", {})
    await index.sync(Pace())
    assert len(looks) == 1
    runtime.publish("nobody.hears.0", {})
    await index.sync(Pace())
    assert len(looks) == 2


async def test_a_schedule_is_the_source_of_what_it_publishes(runtime):
    worker = Worker("clockwork")

    @worker.every(minutes=5)
    async def nightly(client):
        await client.publish("nightly.due")

    managed = await runtime.add(worker)
    managed.run_schedule(next(iter(managed.stats)))
    await runtime.settle()
    (row,) = await rows_of(runtime)
    assert (row["kind"], row["text"]) == ("nightly.due", "schedule, every 5 min")


async def test_a_run_whose_first_events_are_dropped_goes_on_at_the_oldest_that_is_kept(runtime, monkeypatch):
    monkeypatch.setattr("dnworker.events.history.EVENTS_KEPT", 50)
    model, worker = runtime.feed.model, Worker("chain")

    @worker.on_event("tick")
    async def on_tick(event, client):
        if event.payload["n"] % 20 == 0:
            await model.runs.sync(Pace())
        if event.payload["n"]:
            await client.publish("tick", {"n": event.payload["n"] - 1})

    await runtime.add(worker)
    follower = follow(model, {})
    first = (await runtime.fire("other", {})).event.event_id
    await follower.changes(Pace())
    await runtime.fire("tick", {"n": 200})
    runtime.publish("later", {})
    await runtime.settle()
    part = await follower.changes(Pace())
    assert first in part["gone"] or part["whole"]
    by_kind = {row["kind"]: row for row in (await follow(model, {}).changes(Pace()))["rows"]}
    row = by_kind["tick"]
    kept = [event for event in runtime.history.events(100) if event.kind == "tick"]
    assert (row["id"], row["seq"], row["events"]) == (kept[0].event_id, kept[0].seq, len(kept))
    for event in kept:
        assert model.runs.root_of(event.event_id) == row["id"]
        assert not (await run_to_json(model, {"event": event.event_id}, Pace())).get("gone")
    seqs = [run.seq for run in model.runs.runs.values()]
    assert seqs == sorted(seqs)


@pytest.mark.parametrize("is_watched", [True, False], ids=["watched", "looked at later"])
async def test_runs_under_a_virtual_clock_are_filtered_by_the_machines(is_watched):
    async with Runtime(port=None, clock=VirtualClock()) as runtime:
        worker = Worker("shop")

        @worker.on_event("order.placed")
        async def on_placed(event, client): ...

        await runtime.add(worker)
        model, began = runtime.feed.model, time.time() * 1000
        if is_watched:
            await model.runs.sync(Pace())
        event = (await runtime.fire("order.placed", {})).event
        model.runs.note(event.event_id)
        ended = time.time() * 1000
        (row,) = await rows_of(runtime, last=600, since=began - 1_000, until=ended + 1_000)
        assert began - 1_000 <= row["at"] <= ended + 1_000
        assert await rows_of(runtime, since=ended + 60_000) == []
        run = await run_to_json(model, {"event": event.event_id}, Pace())
        assert (run["at"], run["virtual"]) == (row["at"], event.timestamp.timestamp() * 1000)


async def test_a_row_that_the_view_was_not_sent_is_not_said_to_be_gone(runtime, shop, monkeypatch):
    monkeypatch.setattr(runs_part, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr("dnworker.events.history.EVENTS_KEPT", 40)
    follower = follow(runtime.feed.model, {})
    for n in range(20):
        await runtime.fire("nobody.hears", {"id": f"n{n}"})
    sent = {row["id"] for row in (await follower.changes(Pace()))["rows"]}
    sent |= {row["id"] for row in follower.older(None, 5)}
    assert len(sent) == 5
    gone = set()
    for _ in range(25):
        for _ in range(2):
            await runtime.fire("nobody.hears", {})
        part = await follower.changes(Pace())
        gone |= set(part["gone"])
        sent |= {row["id"] for row in part["rows"]}
    assert gone
    assert gone <= sent


@pytest.mark.parametrize("turns", range(40))
async def test_a_filter_is_answered_whenever_in_an_update_it_comes(runtime, shop, screen, monkeypatch, turns):
    monkeypatch.setattr(pace, "LONGEST", 0.0)  # the loop turns at every rest, as on a slow machine
    event = (await runtime.fire("order.placed", {"id": "ord-1"})).event
    await runtime.fire("order.placed", {"bad": True})
    await screen.open(looks={"run": {"event": event.event_id}, "runs": {"filter": {"outcome": "failed"}}})
    await runtime.fire("order.placed", {"id": "ord-2"}, wait=False)
    for _ in range(turns):
        await asyncio.sleep(0)
    for wanted in (None, {"filter": {}}, None, {"filter": {"words": ["ord-1"]}}):
        screen.say("look", part="runs", wanted=wanted)
    async with asyncio.timeout(5):
        part = await screen.part("runs", lambda part: part["filter"]["words"] == ["ord-1"])
    assert part["whole"]
    assert [row["text"] for row in part["rows"]] == ["ord-1"]
