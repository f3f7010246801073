"""When views of the panel are updated, and when nothing is listened to."""

from __future__ import annotations

import asyncio

from dnworker import Runtime, Worker
from dnworker.panel import feed as feeds
from dnworker.panel import map_part, state_part
from dnworker.panel import view as views

from .screen import Screen


async def test_hello_is_answered_with_all_there_is(runtime, bridge, screen):
    runtime.log_line("notebook:bridge", "said before")
    trace = await runtime.fire("demo.ping", {"n": 1})
    told = await screen.open(
        "log",
        looks={
            "fire": {},
            "capabilities": {},
            "sessions": {},
            "life": {"worker": "notebook:bridge"},
            "runs": {},
            "run": {"event": trace.event.event_id},
        },
    )
    assert told["seq"] == 1
    assert told["workers"]["order"] == ["notebook:bridge"]
    (worker,) = told["workers"]["changed"]
    assert (worker["name"], worker["calls"]) == ("notebook:bridge", 1)
    assert [one["state"] for one in told["life"]["steps"]] == ["loading", "starting", "running"]
    assert told["log"]["lines"][-1]["text"] == "said before"
    assert [row["kind"] for row in told["runs"]["rows"]] == ["demo.ping"]
    assert [row["type"] for row in told["run"]["rows"]] == ["event", "call", "event"]
    assert told["capabilities"]["all"][0]["name"] == "notebook"
    assert "demo.ping" in [one["kind"] for one in told["fire"]["kinds"]]
    assert told["sessions"] == {"newest": [], "all": 0}


async def test_nothing_is_listened_to_while_nobody_looks(runtime, bridge, screen, monkeypatch):
    feed, heard = runtime.feed, []
    for name in ("notify", "_note_line", "_note_event", "_note_invocation"):
        real = getattr(feed, name)
        monkeypatch.setattr(feed, name, lambda *args, real=real, name=name: (heard.append(name), real(*args)))
    assert not feed.is_listening
    await screen.open()
    assert feed.is_listening
    await runtime.fire("demo.ping", {"n": 1})
    await bridge.restart()
    runtime.log_line("w", "seen")
    assert {"notify", "_note_line", "_note_event", "_note_invocation"} == {*heard}
    screen.say("visibility", visible=False)
    assert not feed.is_listening
    heard.clear()
    await runtime.fire("demo.ping", {"n": 1})
    await bridge.stop()
    runtime.log_line("w", "unseen")
    assert heard == []
    screen.say("visibility", visible=True)
    assert (await screen.until(lambda m: "paused" in m))["type"] == "snapshot"


async def test_a_view_out_of_sight_is_filled_once_and_then_costs_nothing(runtime, screen):
    screen.say("hello", parts=["log"], visible=False)
    await screen.until(lambda m: m["type"] == "snapshot")
    await asyncio.sleep(0)
    assert not runtime.feed.is_listening
    runtime.log_line("w", "unseen")
    screen.say("visibility", visible=True)
    assert (await screen.part("log"))["lines"][-1]["text"] == "unseen"


async def test_one_view_in_sight_is_enough_and_each_gets_its_own(runtime, screen):
    other = Screen(runtime, "other")
    await screen.open("log")
    await other.open()
    screen.say("visibility", visible=False)
    runtime.log_line("w", "now")
    assert runtime.feed.is_listening
    await runtime.add(Worker("new"))
    await other.part("workers")
    assert not [m for m in screen.messages if "log" in m]


async def test_closing_leaves_no_listener_and_no_task(runtime, screen):
    before = asyncio.all_tasks()
    await screen.open("log", looks={"runs": {}})
    screen.channel.close()
    await asyncio.sleep(0)
    assert not runtime.feed.is_listening
    assert asyncio.all_tasks() == before
    screen.channel.close()


async def test_a_view_that_never_answers_is_forgotten_and_asked_who_it_is(runtime, screen, monkeypatch):
    await screen.open("log")
    monkeypatch.setattr(views, "SILENCE", -1.0)
    runtime.log_line("w", "to nobody")
    await screen.until(lambda m: m["type"] == "who")
    assert not runtime.feed.views
    assert not runtime.feed.is_listening
    screen.say("control", id=1, verb="stop", worker="w")
    await screen.until(lambda m: m["type"] == "who")  # it says hello, and asks again


async def test_a_view_that_answers_is_kept(runtime, screen, monkeypatch):
    first = await screen.open("log")
    screen.say("ack", seq=first["seq"])
    monkeypatch.setattr(views, "SILENCE", -1.0)
    runtime.log_line("w", "a")
    await screen.part("log")
    assert [view.name for view in runtime.feed.views] == ["v"]


async def test_stopping_the_runtime_ends_the_feed(bridge, screen, runtime):
    await screen.open("log")
    feed = runtime.feed
    await runtime.stop()
    assert not feed.is_listening


async def test_an_old_way_that_ends_late_does_not_take_the_view_from_the_new_one(runtime, screen):
    await screen.open()
    old = screen.channel
    screen.channel = runtime.feed.connect(lambda message: screen._take(message))
    await screen.open()
    old.close()
    assert [view.name for view in runtime.feed.views] == ["v"]


async def test_a_view_goes_on_when_the_runtime_was_stopped_and_started_again(runtime, screen):
    await screen.open("log")
    await runtime.stop()
    await runtime.start()
    runtime.log_line("w", "again")
    assert (await screen.part("log"))["lines"][-1]["text"] == "again"


async def test_trouble_with_one_part_is_logged_and_the_view_filled_again(
    runtime, screen, monkeypatch, caplog
):
    monkeypatch.setattr(feeds, "RETRY_PAUSE", 0.0)
    real, failures = runtime.feed.model.attention, [ValueError("odd")]

    def attention():
        if failures:
            raise failures.pop()
        return real()

    monkeypatch.setattr(runtime.feed.model, "attention", attention)
    assert {"runtime", "workers"} <= (await screen.open()).keys()
    assert "an update of the panel failed" in caplog.text


async def test_what_comes_to_light_after_its_handler_changes_the_events_row(runtime, screen):
    worker = Worker("starter")

    @worker.on_event("demo.go")
    async def go(event, client):
        pass

    await runtime.add(worker)
    trace = await runtime.fire("demo.go", {})
    await screen.open(looks={"runs": {}})
    (run,) = runtime.history.invocations_of(trace.event.event_id)
    runtime.note_unhandled(run, ValueError("left behind"))
    rows = (await screen.part("runs", lambda part: not part["whole"] and part["rows"]))["rows"]
    assert [(row["seq"], row["outcome"]) for row in rows] == [(trace.event.seq, "failed")]


async def test_a_message_that_is_none_is_told_to_who_asked(runtime, screen):
    screen.say("control", id=7, verb="explode", worker="w")
    failed = await screen.until(lambda m: m["type"] == "failed")
    assert failed["id"] == 7
    assert "Invalid enum value 'explode'" in failed["text"]


async def test_a_part_that_is_due_sooner_is_looked_at_sooner(runtime, screen, monkeypatch):
    monkeypatch.setattr(map_part, "INTERVAL", 1_000.0)
    monkeypatch.setattr(state_part, "STATE_INTERVAL", 2.0)
    await screen.open(looks={"map": {}})
    feed = runtime.feed
    feed._look_again()
    late = feed._next_look
    screen.say("look", part="state", wanted={"worker": "notebook:none"})
    feed._look_again()
    assert late.cancelled()
    soon = feed._next_look
    assert soon.when() < late.when()
    feed._look_again()
    assert feed._next_look is soon


async def test_a_view_that_comes_before_the_start_is_updated_after_it():
    runtime = Runtime(port=None)
    screen = Screen(runtime)
    screen.say("hello", parts=["log"])
    runtime.log_line("w", "said before")
    async with runtime:
        told = await screen.until(lambda m: m["type"] == "snapshot")
        assert told["log"]["lines"][-1]["text"] == "said before"
        await asyncio.to_thread(runtime.log_line, "w", "said after, on another thread")
        await screen.part("log", lambda log: "said after" in log["lines"][-1]["text"])
        screen.channel.close()
    assert not runtime.feed.is_listening
