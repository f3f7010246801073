"""Events fired again, and two generations on the same events."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Runtime, VirtualClock, Worker
from dnworker.core.errors import UsageError
from dnworker.core.limits import Limits
from dnworker.engine.replay import edited, find, recorded, replay
from dnworker.events.event_files import read_events, write_events
from dnworker.testing import make_envelope
from dnworker.workers.shadow import compare


def echo(name: str = "w", kind: str = "ask") -> Worker:
    worker = Worker(name=name)

    @worker.on_event(kind)
    async def on_ask(event, client):
        await client.publish("answer", {"to": event.payload.get("n"), "by": name})

    return worker


async def test_what_came_from_outside_is_recorded_and_what_handlers_published_is_not(runtime):
    await runtime.add(echo())
    for n in range(3):
        await runtime.fire("ask", {"n": n})
    assert [e.payload["n"] for e in await recorded(runtime, 2)] == [1, 2]
    assert [e.kind for e in await recorded(runtime, 10, kind="answer")] == ["answer"] * 3


async def test_a_replay_is_fired_anew_with_edits(runtime):
    await runtime.add(echo())
    first = await runtime.fire("ask", {"n": 1}, session_id="s1")
    (again,) = await replay(runtime, [first.event], edits=[("n", 2), ("deep.er", True)])
    assert again.event.event_id != first.event.event_id
    assert again.event.payload == {"n": 2, "deep": {"er": True}}
    assert again.event.session_id == "s1"
    assert f"(again, as #{first.event.seq})" in str(again)


async def test_a_replay_in_another_session_names_it_in_the_payload_too(runtime):
    created = await runtime.fire("session.created", session_id="s1")
    about_another = await runtime.fire("a", {"session_id": "s0"}, session_id="s1")
    traces = await replay(runtime, [created.event, about_another.event], session_id="s2")
    assert [t.event.session_id for t in traces] == ["s2", "s2"]
    assert [t.event.payload["session_id"] for t in traces] == ["s2", "s0"]
    assert created.event.payload == {"session_id": "s1"}


async def test_a_replay_to_one_worker_reaches_no_other(runtime):
    await runtime.add(echo("one"))
    await runtime.add(echo("two"))
    first = await runtime.fire("ask", {"n": 1})
    assert len(first.invocations) == 2
    (again,) = await replay(runtime, [first.event], only="two")
    assert [i.worker for i in again.invocations] == ["notebook:two"]


async def test_a_replay_at_a_pace_moves_a_virtual_clock(runtime):
    await runtime.add(echo())
    await runtime.fire("ask", {"n": 1})
    await runtime.advance(60)
    await runtime.fire("ask", {"n": 2})
    before = runtime.clock.monotonic()
    traces = await replay(runtime, await recorded(runtime, 2), speed=2)
    assert runtime.clock.monotonic() - before == 30
    assert all(trace.ok and trace.invocations for trace in traces)


async def test_events_of_an_earlier_run_come_from_the_journal(tmp_path):
    journal = tmp_path / "journal.db"
    async with Runtime(port=None, clock=VirtualClock(), journal=journal) as before:
        await before.add(echo())
        fired = await before.fire("ask", {"n": 5})
    async with Runtime(port=None, clock=VirtualClock(), journal=journal) as after:
        await after.add(echo())
        (kept,) = await recorded(after, 5)
        assert kept == fired.event
        assert await find(after, fired.event.event_id[:8]) == fired.event
        (again,) = await replay(after, [kept])
        assert again.ok


async def test_an_event_is_named_by_seq_or_id(runtime):
    fired = await runtime.fire("ask", {"n": 1})
    assert await find(runtime, f"#{fired.event.seq}") == fired.event
    assert await find(runtime, fired.event.event_id[:6]) == fired.event
    with pytest.raises(UsageError, match="there is no event 'abc'"):
        await find(runtime, "abc")


@pytest.mark.parametrize("path", ["n.x", "items.9", "items.x"])
def test_an_edit_that_fits_nowhere_is_refused(path):
    with pytest.raises(UsageError, match="--edit"):
        edited({"n": 1, "items": [1]}, [(path, 0)])


def test_an_edit_changes_a_copy():
    payload = {"items": [{"n": 1}]}
    assert edited(payload, [("items.0.n", 2)]) == {"items": [{"n": 2}]}
    assert payload == {"items": [{"n": 1}]}


def test_events_are_the_same_after_a_file(tmp_path):
    events = [make_envelope("a", {"n": n}, session_id="s", seq=n + 1) for n in range(3)]
    assert write_events(tmp_path / "events.jsonl", events) == 3
    assert read_events(tmp_path / "events.jsonl") == events
    assert [f.name for f in tmp_path.iterdir()] == ["events.jsonl"]


def test_a_file_written_by_hand_needs_only_the_kind(tmp_path):
    (tmp_path / "e.jsonl").write_text('\n{"kind": "a"}\n{"kind": "b", "payload": {"x": 1}}\n')
    assert [(e.kind, e.payload) for e in read_events(tmp_path / "e.jsonl")] == [("a", {}), ("b", {"x": 1})]


@pytest.mark.parametrize("line", ["{", "[1]", '{"payload": {}}', '{"kind": 1}'])
def test_a_line_that_is_no_event_is_refused_with_its_number(tmp_path, line):
    (tmp_path / "e.jsonl").write_text(f'{{"kind": "a"}}\n{line}\n')
    with pytest.raises(UsageError, match=r"e.jsonl, line 2: not an event"):
        read_events(tmp_path / "e.jsonl")


def test_a_file_that_cannot_be_written_or_read_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        write_events(tmp_path / "no" / "e.jsonl", [])
    with pytest.raises(UsageError, match="cannot be read"):
        read_events(tmp_path / "none.jsonl")


def generation(greeting: str):
    def make() -> Worker:
        worker = Worker(name="w")

        @worker.on_startup
        async def start(client):
            worker.state["n"] = 0

        @worker.on_event("ask")
        async def on_ask(event, client):
            worker.state["n"] += event.payload["n"]
            await client.notify(title=f"{greeting} {event.payload['n']}")

        return worker

    return make


async def test_generations_that_do_the_same_do_not_differ():
    events = [make_envelope("ask", {"n": n}, seq=n) for n in (1, 2)]
    told = await compare(generation("hi"), generation("hi"), events, None)
    assert str(told) == "2 events: no difference between before and after"


async def test_generations_that_differ_are_shown_event_by_event():
    events = [
        make_envelope("ask", {"n": 1}, seq=1),
        make_envelope("other", seq=2),
        make_envelope("ask", seq=3),
    ]
    told = str(await compare(generation("hi"), generation("hello"), events, None))
    assert "ask  #1" in told
    assert '- on_ask notifies notify {"title": "hi 1"}' in told
    assert '+ on_ask notifies notify {"title": "hello 1"}' in told
    assert "1 of 3 events differ" in told


async def test_a_shadow_publishes_nothing(runtime):
    await runtime.add(echo("listener", "answer"))
    before = runtime.bus.latest_seq
    await compare(lambda: echo(), lambda: echo(), [make_envelope("ask", {"n": 1})], runtime.client())
    assert runtime.bus.latest_seq == before


async def test_timestamps_without_a_zone_are_read_as_utc(runtime, tmp_path):
    (tmp_path / "e.jsonl").write_text(
        '{"kind": "a", "timestamp": "2030-01-01T00:00:00"}\n{"kind": "b", "timestamp": "2030-01-01T00:00:05Z"}\n'
    )
    before = runtime.clock.monotonic()
    assert len(await replay(runtime, read_events(tmp_path / "e.jsonl"), speed=1)) == 2
    assert runtime.clock.monotonic() - before == 5


def test_a_line_nested_too_deep_is_refused(tmp_path):
    (tmp_path / "e.jsonl").write_text("[" * 100_000)
    with pytest.raises(UsageError, match="line 1: not an event"):
        read_events(tmp_path / "e.jsonl")


async def test_a_number_beyond_all_events_names_none(runtime, tmp_path):
    async with Runtime(port=None, journal=tmp_path / "j.db") as recording:
        with pytest.raises(UsageError, match="there is no event"):
            await find(recording, "#99999999999999999999")


async def test_a_journal_is_flushed_up_to_what_was_noted_while_more_comes(tmp_path):
    async with Runtime(port=None, journal=tmp_path / "j.db") as recording:
        ending = asyncio.Event()

        async def publish():
            while not ending.is_set():
                recording.publish("noise")
                await asyncio.sleep(0)

        busy = asyncio.create_task(publish())
        assert await asyncio.to_thread(recording.journal.flush, 5)
        ending.set()
        await busy


async def test_a_handler_that_ignores_its_cancellation_does_not_hang_a_comparison(monkeypatch):
    monkeypatch.setattr("dnworker.workers.shadow.LIMIT", 0.05)
    let_go = asyncio.Event()

    def make():
        worker = Worker(name="w")

        @worker.on_event("a")
        async def stubborn(event, client):
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue

        return worker

    told = await compare(make, make, [make_envelope("a")], None)
    assert "stubborn took longer than 0.05 s" in told.before[1].lines
    let_go.set()


async def test_a_difference_in_the_state_at_the_end_is_called_that():
    def make(value):
        def worker():
            made = Worker(name="w")
            made.state["n"] = value
            return made

        return worker

    told = str(await compare(make(1), make(2), [make_envelope("a")], None))
    assert "state at the end\n- n = 1\n+ n = 2" in told


async def test_a_shadow_may_group_and_subscribe():
    def make():
        worker = Worker(name="w")

        @worker.on_event("a")
        async def h(event, client):
            async with client.workflow("title"):
                async for _ in client.subscribe("b"):
                    pass
            await client.notify(title="done")

        return worker

    told = await compare(make, make, [make_envelope("a")], None)
    assert told.before[1].lines == ['h notifies notify {"title": "done"}']


async def test_a_handler_that_startup_registers_takes_part_in_a_comparison():
    def make():
        worker = Worker("late")

        @worker.on_startup
        async def register(client):
            @worker.on_event("ask")
            async def answer(event, client):
                await client.publish("answered", {})

        return worker

    told = str(await compare(make, lambda: Worker("late"), [make_envelope("ask")], None))
    assert "answered" in told


async def test_an_event_whose_payload_memory_dropped_is_not_fired_again_and_the_refusal_says_the_way_out():
    async with Runtime(port=None, limits=Limits(history=300_000)) as runtime:
        for n in range(4):
            runtime.publish("ask", {"n": n, "text": "x" * 100_000})
        with pytest.raises(UsageError, match=r"of the last 4 events, 2 have lost.*--journal FILE"):
            await recorded(runtime, 4, kind="ask")
        assert [e.payload["n"] for e in await recorded(runtime, 4, kind="ask", whole=False)] == [2, 3]
        assert [e.payload["n"] for e in await recorded(runtime, 1, kind="ask")] == [3]
        with pytest.raises(UsageError, match=r"payload of #1 is not kept any more; .*--limit history="):
            await find(runtime, "#1")


async def test_an_event_whose_payload_memory_dropped_is_found_in_the_journal(tmp_path):
    file = tmp_path / "journal.sqlite"
    async with Runtime(port=None, journal=file, limits=Limits(history=300_000)) as runtime:
        for n in range(4):
            runtime.publish("ask", {"n": n, "text": "x" * 100_000})
        assert (await find(runtime, "#1")).payload["n"] == 0
        assert [e.payload["n"] for e in await recorded(runtime, 4, kind="ask")] == [0, 1, 2, 3]
