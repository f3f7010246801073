"""The flow map on the panel: sent while it is looked at, in its place between updates, and within bounds."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import time

import pytest

from dnworker import Worker
from dnworker.flow.graph import Facts
from dnworker.panel import map_part, parts
from dnworker.panel.actions import Actions
from dnworker.panel.map_part import without
from dnworker.panel.model import PanelModel
from dnworker.panel.pace import Pace


@pytest.fixture(autouse=True)
def without_interval(monkeypatch):
    monkeypatch.setattr(map_part, "INTERVAL", 0.0)


@pytest.fixture
def read(runtime):
    model = PanelModel(runtime, Actions(runtime))
    read = functools.partial(lambda model, **wanted: map_part.read(model, wanted, Pace()), model=model)
    read.model = model
    return read


async def test_a_map_is_sent_when_it_is_looked_at_and_again_when_it_changes(runtime, bridge, screen):
    await screen.open()
    screen.say("look", part="map", wanted={"window": "live"})
    shown = await screen.part("map")
    assert {"kind/demo.ping", "worker/notebook:bridge", "kind/demo.pong"} <= {n["id"] for n in shown["nodes"]}
    await runtime.fire("demo.ping", {"bad": True})
    while not any(edge["failed"] for edge in shown["edges"]):
        shown = await screen.part("map")
    assert any(one["category"] == "failing" for one in shown["findings"])


async def test_what_stays_keeps_its_place_when_a_worker_comes(runtime, bridge, read):
    before = {node["id"]: (node["x"], node["y"]) for node in (await read())["nodes"]}
    more = Worker("more")

    @more.on_event("demo.ping")
    async def on_ping(event, client): ...

    await runtime.add(more)
    after = {node["id"]: (node["x"], node["y"]) for node in (await read())["nodes"]}
    assert after.items() >= before.items()
    assert "worker/notebook:more" in after


async def test_windows_differ_in_counts_and_not_in_places(runtime, bridge, read):
    await runtime.fire("demo.ping", {})
    live, code = await read(window="live"), await read(window="code")
    places = {node["id"]: (node["x"], node["y"]) for node in live["nodes"]}
    assert all(places[node["id"]] == (node["x"], node["y"]) for node in code["nodes"])
    assert any(edge["count"] for edge in live["edges"])
    assert not any(edge["count"] for edge in code["edges"])
    assert {edge["tone"] for edge in code["edges"]} == {"run"}


@pytest.mark.parametrize("hidden", ["notebook", "notebook:bridge"])
async def test_what_is_hidden_is_left_out_with_its_kinds(runtime, bridge, read, hidden):
    await runtime.fire("demo.ping", {})
    shown = await read(hide=[hidden])
    assert [n["name"] for n in shown["nodes"] if n["category"] == "worker"] == []
    assert shown["hidden"] == [hidden]
    assert shown["capabilities"] == ["notebook"]


async def test_the_last_minutes_of_the_chosen_node_are_sent(runtime, bridge, read):
    await runtime.fire("demo.ping", {})
    chosen = (await read(node="worker/notebook:bridge"))["selected"]
    assert (len(chosen["series"]), sum(count for count, _ in chosen["series"])) == (60, 1)
    assert sum(count for count, _ in (await read(node="kind/demo.pong"))["selected"]["series"]) == 1
    assert (await read(node="worker/gone"))["selected"] is None
    assert (await read(node=None))["selected"] is None


async def test_the_busiest_flows_are_rows_and_a_small_map(runtime, bridge, read):
    for _ in range(3):
        await runtime.fire("demo.ping", {})
    found = await read(busiest=2)
    assert [row["kind"] for row in found["rows"]] == ["demo.ping", "demo.pong"]
    assert found["rows"][0]["workers"] == ["bridge"]
    assert found["rows"][1]["mark"] == "unheard"
    assert {"kind/demo.ping", "worker/notebook:bridge"} <= {node["id"] for node in found["map"]["nodes"]}
    assert found["map"]["bands"] == []


@pytest.mark.parametrize(
    "wanted", [{"window": 5}, {"hide": "x"}, {"busiest": "many"}, {"other": 1}, {"hide": [1]}]
)
async def test_what_makes_no_sense_is_as_if_it_were_not_wanted(runtime, bridge, read, wanted):
    assert (await read(**wanted))["window"] in ("live", 5)


def test_hiding_nothing_changes_nothing():
    facts = Facts()
    assert without(facts, []) is facts


async def test_a_thousand_workers_are_sent_in_a_bounded_message_and_the_loop_goes_on(runtime, read):
    for number in range(0, 1_000, 50):
        await asyncio.gather(
            *(runtime.add(_crowd(number + n), capability=f"c{number // 100}") for n in range(50))
        )
    lags = []

    async def measure():
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            lags.append(time.perf_counter() - before)

    task = asyncio.create_task(measure())
    shown = await read()
    task.cancel()
    assert len(json.dumps(shown)) < 150_000
    assert shown["whole"] > 1_000
    assert len(lags) > 20  # it had its turns


def _crowd(number):
    worker = Worker(f"w-{number}")

    @worker.on_event(f"k.{number % 7}")
    async def on(event, client):
        await client.publish("done")

    return worker


async def test_a_map_that_takes_long_is_made_again_after_ten_times_that(bridge, read, monkeypatch):
    made, real = [], map_part.make
    monkeypatch.setattr(map_part, "make", lambda *args: made.append(args) or real(*args))
    monkeypatch.setattr(map_part, "SHORT", -1.0)
    monkeypatch.setattr(map_part, "COST_FACTOR", 1e9)
    first = await read()
    assert await read() == first
    assert len(made) == 1
    await read(window="code")
    assert len(made) == 2


@pytest.mark.parametrize(("form", "begin"), [("mermaid", "flowchart LR\n"), ("svg", "<svg ")])
async def test_the_map_is_sent_as_text_without_what_is_hidden(runtime, bridge, screen, form, begin):
    await screen.open()
    whole = await screen.ask("maptext", form=form)
    assert whole["text"].startswith(begin)
    assert "demo.pong" in whole["text"]
    part = await screen.ask("maptext", form=form, wanted={"hide": ["demo.pong"]})
    assert "demo.ping" in part["text"]
    assert "demo.pong" not in part["text"]


@pytest.mark.parametrize("form", ["mermaid", "svg"])
async def test_no_name_is_markup_in_the_text_of_a_map(runtime, screen, form):
    worker = Worker("bold")

    @worker.on_event("<script>alert(1)</script>")
    async def bold(event, client): ...

    await runtime.add(worker)
    await screen.open()
    answer = await screen.ask("maptext", form=form)
    assert "<script" not in answer["text"]


async def test_nothing_else_waits_for_a_map_that_takes_long(runtime, bridge, screen, monkeypatch):
    may_draw, real = threading.Event(), map_part.make
    monkeypatch.setattr(map_part, "make", lambda *args: may_draw.wait(10) and real(*args))
    await screen.open()
    screen.say("look", part="map", wanted={"window": "live"})
    screen.say("look", part="sessions", wanted={})
    try:
        assert "map" not in await screen.until(lambda message: "sessions" in message)
    finally:
        may_draw.set()
    assert (await screen.part("map"))["nodes"]


async def test_a_map_that_nobody_waits_for_is_not_drawn_to_its_end(runtime, bridge, screen, monkeypatch):
    await screen.open()
    view = next(iter(runtime.feed.views))
    started, ended = asyncio.Event(), asyncio.Event()

    async def read(model, wanted, pace):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    slow = parts.Part(read, lambda: 0.0, is_heard_of=False, is_slow=True)
    monkeypatch.setitem(parts.PARTS, "map", slow)
    screen.say("look", part="map", wanted={})
    await asyncio.wait_for(started.wait(), 60)
    screen.say("look", part="map", wanted=None)
    await asyncio.wait_for(ended.wait(), 60)
    assert "map" not in view.looks


async def test_a_map_comes_although_a_users_work_fills_the_threads_of_the_loop(runtime, bridge, screen):
    release = threading.Event()
    blocked = [asyncio.create_task(asyncio.to_thread(release.wait)) for _ in range(64)]
    try:
        await screen.open(looks={"map": {}, "overview": {}})
        await runtime.fire("demo.ping", {})
        await screen.part("map", lambda shown: any(edge["count"] for edge in shown["edges"]))
    finally:
        release.set()
        await asyncio.gather(*blocked)


async def test_the_threads_of_the_panel_end_with_the_runtime(bridge, read, runtime):
    await read()
    own = [one for one in threading.enumerate() if one.name.startswith("dnworker side")]
    await runtime.stop()
    for thread in own:
        thread.join(10)
    assert own
    assert not any(thread.is_alive() for thread in own)
