"""The past of runtimes whose events are kept or shared: after a restart, over pages, of long files."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest

from dnworker import Runtime, Worker
from dnworker.core.clock import RealClock
from dnworker.events import history as histories
from dnworker.events import past_events
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.testing import SharedBroker, SharedStore

HEADERS = {"Authorization": "Bearer s3cret"}

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def serving(broker, **more):
    async with Runtime(port=0, token="s3cret", broker=broker, **more) as runtime:
        yield runtime


async def ask(runtime: Runtime, path: str, **query) -> dict:
    async with httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http:
        answer = await http.get(f"/api/history/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def all_pages(runtime: Runtime, **query) -> list[dict]:
    found, before = [], None
    while True:
        page = await ask(
            runtime,
            "events",
            **({"limit": 3, "noise": True} | query | ({"before": before} if before else {})),
        )
        found += page["events"]
        if (before := page["next"]) is None:
            return found


def make_worker(gate: asyncio.Event | None = None) -> Worker:
    worker = Worker("bridge")

    @worker.on_event("demo.go")
    async def on_go(event, client) -> None:
        if gate is not None:
            await gate.wait()
        print("went", event.payload["n"])
        if event.payload["n"] == 2:
            raise ValueError("no such thing")
        await client.publish("demo.done", {"n": event.payload["n"]})

    return worker


def make_other() -> Worker:
    """A second worker, so that one event has two runs."""
    worker = Worker("other")

    @worker.on_event("demo.go")
    async def on_go(event, client) -> None:
        pass

    return worker


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


async def test_after_a_restart_events_of_before_are_listed_once_also_those_that_are_delivered_again(tmp_path):
    file, gate = tmp_path / "events.db", asyncio.Event()
    async with serving(SqliteBroker(file)) as runtime:
        await runtime.add(make_worker(gate))
        sent = []
        for n in (1, 3):
            for kind in ("demo.go", "demo.other"):
                sent.append((await runtime.bus.accepted(runtime.publish(kind, {"n": n}))).seq)
    gate.set()
    async with serving(SqliteBroker(file)) as runtime:
        await runtime.add(make_worker(gate))
        async with asyncio.timeout(30):
            while len(await all_pages(runtime, kind="demo.done")) < 2:
                await asyncio.sleep(0.02)
        found = await all_pages(runtime)
        seqs = [one["seq"] for one in found]
        assert seqs == list(range(max(seqs), 0, -1))
        before = [one for one in found if one["seq"] in sent]
        assert all(one["from_file"] for one in before)
        assert [one["ok"] for one in before if one["kind"] == "demo.go"] == [1, 1]
        trace = await ask(runtime, f"events/{sent[0]}/trace")
        assert trace["source"] == "file"
        assert [one["kind"] for one in trace["events"]] == ["demo.go", "demo.done"]


async def test_nodes_that_share_a_broker_list_each_event_once_in_one_order():
    store = SharedStore(RealClock())
    async with (
        serving(SharedBroker(store), node="one") as one,
        serving(SharedBroker(store), node="two") as two,
    ):
        await one.add(make_worker())
        sent = [runtime.publish("demo.other", {"n": n}) for n in range(20) for runtime in (one, two)]
        go = one.publish("demo.go", {"n": 1})
        await asyncio.gather(
            *(one.bus.accepted(event) for event in sent[::2]),
            *(two.bus.accepted(event) for event in sent[1::2]),
        )
        last = (await one.bus.accepted(go)).seq
        async with asyncio.timeout(30):
            while not all([await all_pages(runtime, kind="demo.done") for runtime in (one, two)]):
                await asyncio.sleep(0.02)
        for runtime in (one, two):
            found = [event["seq"] for event in await all_pages(runtime)]
            assert found == sorted(set(found), reverse=True)
            assert set(found) >= {event.seq for event in sent} | {last}
            middle = sorted(event.seq for event in sent)[10]
            assert {e["seq"] for e in await all_pages(runtime, after=middle)} == {
                s for s in found if s > middle
            }


async def test_pages_go_from_memory_to_the_file_with_each_event_once(tmp_path, monkeypatch):
    monkeypatch.setattr(histories, "EVENTS_KEPT", 4)
    async with serving(SqliteBroker(tmp_path / "events.db")) as runtime:
        await runtime.add(make_worker())
        for n in range(3, 10):
            await runtime.fire("demo.go", {"n": n})
        seqs = [one["seq"] for one in await all_pages(runtime)]
        assert seqs == list(range(max(seqs), 0, -1))


@pytest.fixture
async def dropped(tmp_path, monkeypatch):
    """A runtime whose memory has none of the events that it has handled."""
    async with serving(SqliteBroker(tmp_path / "events.db")) as runtime:
        await runtime.add(make_worker())
        await runtime.add(make_other())
        first = (await runtime.fire("demo.go", {"n": 1})).event
        for n in range(10):
            await runtime.fire("demo.go", {"n": 10 + n})
        monkeypatch.setattr(histories, "EVENTS_KEPT", 1)
        await runtime.fire("demo.other", {})
        while len(runtime.history._order) > 1:
            runtime.history._drop_event()
        yield runtime, first


async def test_a_trace_of_the_file_that_is_whole_says_nothing_of_being_cut(dropped):
    runtime, first = dropped
    trace = await ask(runtime, f"events/{first.event_id}/trace")
    assert (trace["source"], trace["cut"]) == ("file", [])


@pytest.mark.parametrize(
    ("bound", "number", "text"),
    [
        ("ROWS_LOOKED_AT", 3, "more than 3 events after it are not looked for"),
        ("EVENTS_OF_TRACE", 1, "only the first 1 events are read from the journal"),
        ("RUNS_READ", 1, "only the newest 1 runs of one event"),
    ],
)
async def test_a_trace_of_the_file_that_stops_at_a_bound_says_so(dropped, monkeypatch, bound, number, text):
    runtime, first = dropped
    monkeypatch.setattr(past_events, bound, number)
    trace = await ask(runtime, f"events/{first.event_id}/trace")
    assert trace["source"] == "file"
    assert any(text in one for one in trace["cut"]), trace["cut"]


@pytest.mark.slow
async def test_ten_thousand_events_of_a_durable_runtime_are_all_there(tmp_path):
    async with serving(SqliteBroker(tmp_path / "events.db")) as runtime:
        await runtime.add(make_worker())
        sent = [runtime.publish("demo.other", {"n": n}) for n in range(9_990)]
        await asyncio.gather(*map(runtime.bus.accepted, sent))
        with runtime.capture_output():
            traces = [await runtime.fire("demo.go", {"n": n}) for n in range(10)]
        listed = await all_pages(runtime, limit=200)
        seqs = [one["seq"] for one in listed]
        assert seqs == list(range(max(seqs), 0, -1))
        assert {one.seq for one in sent} <= set(seqs)
        (failed,) = await all_pages(runtime, failed=True)
        assert failed["id"] == traces[2].event.event_id
        oldest = await ask(runtime, f"events/{sent[0].seq}/trace")
        assert oldest["events"][0]["id"] == sent[0].event_id
        last = await ask(runtime, "events/last-failed/trace")
        assert last["events"][0]["id"] == failed["id"]
        lines = await ask(runtime, "lines", text="went", limit=1000)
        assert [one["message"] for one in lines["entries"]] == [f"went {n}" for n in range(10)]
