"""One run as a view gets it: a row an event and a call, with times, and why nobody ran."""

from __future__ import annotations

import asyncio
import math

import msgspec
import pytest

from dnworker import Worker
from dnworker.core.retry_policies import parse_retry
from dnworker.panel import run_part
from dnworker.panel.pace import Pace
from dnworker.panel.run_part import run_to_json


async def run_of(runtime, event_id):
    return await run_to_json(runtime.feed.model, {"event": event_id}, Pace())


async def test_any_event_of_a_run_shows_all_of_it(runtime, bridge):
    trace = await runtime.fire("demo.ping", {"n": 1}, session_id="ops")
    below = trace.events()[-1]
    assert below.kind == "demo.pong"
    run = await run_of(runtime, below.event_id)
    assert (run["event"], run["root"]) == (below.event_id, trace.event.event_id)
    assert (run["kind"], run["session"], run["source"], run["running"]) == (
        "demo.ping",
        "ops",
        "Fired",
        False,
    )
    assert [(row["type"], row["depth"]) for row in run["rows"]] == [("event", 0), ("call", 1), ("event", 2)]
    assert run["row"]["calls"] == 1
    assert run["rows"][-1]["text"] == "Nobody listens"


async def test_a_failed_call_has_the_class_and_the_place_of_its_error(runtime, bridge):
    trace = await runtime.fire("demo.ping", {"bad": True})
    call = (await run_of(runtime, trace.event.event_id))["rows"][1]
    assert (call["outcome"], call["error"]) == ("error", "ValueError")
    assert "line" in call["place"]


async def test_it_is_sent_again_as_it_goes_on(runtime, go, screen):
    await screen.open()
    trace = await runtime.fire("demo.slow", wait=False)
    screen.say("look", part="run", wanted={"event": trace.event.event_id})
    part = await screen.part("run", lambda run: len(run["rows"]) == 2)
    assert part["running"]
    assert part["rows"][1]["ended"] is None
    go.set()
    part = await screen.part("run", lambda run: not run["running"])
    assert part["rows"][1]["ended"] is not None


async def test_an_event_that_is_not_kept_is_gone(runtime, screen):
    await screen.open(looks={"run": {"event": "f" * 32}})
    screen.say("look", part="run", wanted={"event": "e" * 32})
    assert await screen.part("run") == {"event": "e" * 32, "gone": True}


async def test_what_is_shown_is_read_again_only_when_it_has_changed(runtime, bridge, monkeypatch):
    trace = await runtime.fire("demo.ping", {})
    await run_of(runtime, trace.event.event_id)
    reads = []
    monkeypatch.setattr(run_part, "iter_spans", lambda *args: reads.append(args) or iter(()))
    await run_of(runtime, trace.event.event_id)
    assert reads == []


async def test_a_run_of_many_rows_is_cut_by_its_bytes_with_a_note(runtime, monkeypatch):
    monkeypatch.setattr(run_part, "BYTES_SHOWN", 20_000)
    worker = Worker("many")

    @worker.on_event("many.ask")
    async def ask(event, client):
        for n in range(300):
            await client.publish(f"many.answer{n % 2}", {"n": n})

    await runtime.add(worker)
    trace = await runtime.fire("many.ask")
    run = await run_of(runtime, trace.event.event_id)
    assert len(msgspec.json.encode(run)) < 25_000
    assert "rows are shown" in run["rows"][-1]["text"]


async def test_a_thousand_events_of_a_kind_are_rows_of_a_hundred(runtime):
    worker = Worker("many")

    @worker.on_event("many.ask")
    async def ask(event, client):
        for n in range(1_000):
            await client.publish("many.answer", {"n": n})

    await runtime.add(worker)
    trace = await runtime.fire("many.ask")
    rows = (await run_of(runtime, trace.event.event_id))["rows"]
    assert [len(row["marks"]) for row in rows[2:]] == [100] * 10


async def test_the_loop_turns_while_a_long_run_is_made(runtime):
    worker = Worker("chain")

    @worker.on_event("count")
    async def count(event, client):
        if event.payload["n"]:
            await client.publish("count", {"n": event.payload["n"] - 1})

    await runtime.add(worker)
    trace = await runtime.fire("count", {"n": 900})
    turns, looking = 0, asyncio.create_task(run_of(runtime, trace.event.event_id))
    while not looking.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 3


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "x" * 200, "\u202eabc", "\U0001f600"])
async def test_a_diagram_is_sent_as_text_whatever_kinds_are_called(runtime, screen, name):
    trace = await runtime.fire(name, {})
    await screen.open()
    answer = await screen.ask("diagram", event=trace.event.event_id)
    assert answer["text"].startswith("sequenceDiagram\n    participant p0 as Fired")
    assert "<" not in answer["text"].replace("->>", "")


async def test_a_diagram_of_an_event_that_is_not_kept_is_refused(runtime, screen):
    await screen.open()
    answer = await screen.ask("diagram", event="f" * 32)
    assert answer["text"] == "this event is kept no longer; fire it again (DN209)"


async def test_the_payload_of_an_event_is_sent_as_text_on_request(runtime, screen):
    trace = await runtime.fire("demo.none", {"n": 12345678901234567890})
    await screen.open()
    answer = await screen.ask("eventpayload", event=trace.event.event_id)
    assert answer["payload"] == '{\n  "n": 12345678901234567890\n}'
    refused = await screen.ask("eventpayload", event="f" * 32)
    assert "kept no longer" in refused["text"]


async def test_what_is_noted_of_a_finished_run_is_shown_at_the_next_look(runtime, bridge, monkeypatch):
    monkeypatch.setattr(run_part, "SHORT", math.inf)  # on a busy machine even a short run takes long to make
    event_id = (await runtime.fire("demo.ping", {})).event.event_id
    before = await run_of(runtime, event_id)
    assert (await run_of(runtime, event_id))["rows"] is before["rows"]
    runtime.history.note_storm(event_id, "it has begun a storm")
    assert "it has begun a storm" in [row.get("text") for row in (await run_of(runtime, event_id))["rows"]]


async def test_a_run_says_which_of_its_events_became_dead_letters(runtime, bridge, screen):
    name = bridge.qualified_name
    runtime.retries.put(name, parse_retry(["1,on=OSError"]))
    await screen.open()
    event = (await runtime.fire("demo.ping", {"bad": 1})).event
    screen.say("look", part="run", wanted={"event": event.event_id})
    part = await screen.part("run", lambda run: run["dead"]["all"] == run["row"]["dead"] == 1)
    (letter,) = part["dead"]["rows"]
    assert (letter["id"], letter["worker"], letter["why"]) == (event.event_id, name, "not retried")
    await screen.ask("dead", verb="drop", event=event.event_id, worker=name)
    await screen.part("run", lambda run: run["dead"]["all"] == run["row"]["dead"] == 0)
