"""A runtime over a broker that redelivers: what is accepted, when an event is handled, and what comes again."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest

from dnworker import JournalReader, Runtime, Worker
from dnworker.core.errors import BrokerError, Conflict, NotStored
from dnworker.core.invocation import Invocation
from dnworker.core.limits import Limits
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.brokers.sqlite.broker import SqliteBroker

pytestmark = pytest.mark.timeout(60)


class Home:
    """The file of a runtime, and what its worker has seen over all lives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "events.db"
        self.seen: list[tuple[int, bool, int]] = []
        """The number of each event that a handler began with, whether it was replayed, which delivery it was."""
        self.held = asyncio.Event()
        self.lives = 0

    def runtime(self) -> Runtime:
        """Return a runtime without a server over the file."""
        return Runtime(port=None, broker=SqliteBroker(self.file))

    def worker(self) -> Worker:
        """Return a worker; its handler waits where the payload says so, and raises where it says that."""
        worker = Worker("bridge")

        @worker.on_event("demo.go")
        async def on_go(event, client):
            self.seen.append((event.payload["n"], event.replay, _number()))
            if event.payload.get("hold"):
                self.held.set()
                await asyncio.Event().wait()
            if event.payload.get("fail"):
                raise ValueError(event.payload["n"])

        return worker

    def image(self) -> None:
        """Go on with what is on disk now, as after a SIGKILL."""
        self.lives += 1
        copy = self.directory / f"after-kill-{self.lives}"
        copy.mkdir()
        for name in (self.file.name, f"{self.file.name}-wal"):
            if (self.file.parent / name).exists():
                shutil.copy(self.file.parent / name, copy)
        self.file = copy / self.file.name


def _number() -> int:
    from dnworker.core.invocation import current_invocation

    invocation = current_invocation.get()
    assert invocation is not None
    return invocation.delivery


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def in_a_circle(seen: list[bool]) -> Worker:
    """Return a worker that publishes what it handles, and notes whether it was replayed."""
    worker = Worker("bridge")

    @worker.on_event("demo.again")
    async def on_again(event, client):
        seen.append(event.replay)
        if not event.replay:
            await client.publish("demo.again")

    return worker


async def test_of_an_event_of_which_too_many_are_held_it_is_said_that_it_comes_at_the_next_start(tmp_path):
    seen: list[bool] = []
    file, limits = tmp_path / "events.db", Limits(storm=100, storm_held=1)
    async with Runtime(port=None, broker=SqliteBroker(file), limits=limits) as runtime:
        runtime.storms.mode = "hold"
        await runtime.add(in_a_circle(seen))
        await runtime.fire("demo.again", timeout=None)
        assert (runtime.storms.held, runtime.storms.dropped) == (0, 1)
        lost = runtime.history.losses_of(runtime.history.events(1)[0].event_id)
        assert lost[0].startswith("no worker gets it before the next start of the runtime: it is part of")
        assert lost[0].endswith("too many are held")
    (said,) = runtime.log.page(level="warning", text="held events").entries
    assert said.message.startswith(
        "1 held events come at the next start, of storms of demo.again -> demo.again"
    )
    seen.clear()
    async with Runtime(port=None, broker=SqliteBroker(file)) as runtime:
        await runtime.add(in_a_circle(seen))
        await handled(runtime)
    assert seen == [True]


@pytest.mark.parametrize("is_dropped", [True, False])
async def test_held_events_come_at_the_next_start_unless_somebody_drops_them(tmp_path, is_dropped):
    seen: list[bool] = []
    file, limits = tmp_path / "events.db", Limits(storm=100)
    async with Runtime(port=None, broker=SqliteBroker(file), limits=limits) as runtime:
        runtime.storms.mode = "hold"
        await runtime.add(in_a_circle(seen))
        await runtime.fire("demo.again", timeout=None)
        assert runtime.storms.held == 1
        if is_dropped:
            assert runtime.storms.drop() == 1
    said = [record.message for record in runtime.log.page(level="warning", text="held events").entries]
    assert [text.partition(", of")[0] for text in said] == (
        [] if is_dropped else ["1 held events come at the next start"]
    )
    seen.clear()
    async with Runtime(port=None, broker=SqliteBroker(file)) as runtime:
        await runtime.add(in_a_circle(seen))
        await handled(runtime)
    assert seen == ([] if is_dropped else [True])


async def handled(runtime: Runtime) -> None:
    """Return when no event waits for a worker."""
    while any(one.pending for one in await runtime.bus.broker.cursors()):
        await asyncio.sleep(0.01)


async def test_an_event_is_on_disk_when_publish_returns(home):
    async with home.runtime() as runtime:
        published = await runtime.client().publish("demo.go", {"n": 1})
        home.image()
        with JournalReader(home.file) as reader:
            assert [event.event_id for event in reader.events(kind="demo.go")] == [published["event_id"]]


async def test_fire_waits_for_the_disk_and_for_the_handlers(home):
    async with home.runtime() as runtime:
        await runtime.add(home.worker())
        trace = await runtime.fire("demo.go", {"n": 1})
        assert trace.ok
        assert [one.outcome for one in trace.invocations] == ["ok"]


async def test_what_had_begun_at_the_kill_comes_again_with_its_number(home):
    async with home.runtime() as runtime:
        await runtime.add(home.worker())
        await runtime.fire("demo.go", {"n": 1, "hold": True}, wait=False)
        await home.held.wait()
        home.image()
    del home.seen[:]
    async with home.runtime() as runtime:
        await runtime.add(home.worker())
        while not home.seen:
            await asyncio.sleep(0.01)
        assert home.seen == [(1, True, 2)]


async def test_what_was_handled_before_the_kill_never_comes_again(home):
    async with home.runtime() as runtime:
        await runtime.add(home.worker())
        await runtime.fire("demo.go", {"n": 1})
        await runtime.fire("demo.go", {"n": 2, "fail": True})
        await handled(runtime)
        broker = runtime.bus.broker
        # It is done by itself 50 ms later, and may be on its way now: the image would be taken in the same group.
        await broker.write(*broker._cursors.values())
        await broker.do(lambda connection: home.image())
    del home.seen[:]
    async with home.runtime() as runtime:
        await runtime.add(home.worker())
        await runtime.fire("demo.go", {"n": 3})
        assert home.seen == [(3, False, 1)]


async def test_what_is_published_while_a_worker_is_stopped_waits_for_it(home):
    async with home.runtime() as runtime:
        added = await runtime.add(home.worker())
        await added.stop()
        for n in range(3):
            await runtime.client().publish("demo.go", {"n": n})
        await added.restart()
        await handled(runtime)
        assert [n for n, _, _ in home.seen] == [0, 1, 2]
        assert {number for _, _, number in home.seen} == {1}


async def test_a_handler_that_the_stop_of_its_worker_cancels_has_not_handled_its_event(home):
    async with home.runtime() as runtime:
        added = await runtime.add(home.worker())
        await runtime.fire("demo.go", {"n": 1, "hold": True}, wait=False)
        await home.held.wait()
        await added.restart(force=True)
        while len(home.seen) < 2:
            await asyncio.sleep(0.01)
        assert home.seen == [(1, False, 1), (1, True, 2)]


async def test_a_handler_that_is_left_behind_ends_for_the_delivery_that_it_began_with(home):
    async with home.runtime() as runtime:
        consumer = runtime.bus.broker.subscribe("demo:w", ["demo.go"])
        await runtime.client().publish("demo.go", {"n": 1})
        event = await anext(consumer)
        runtime.history.begin(left := Invocation("demo:w", "on_go", "event", event))
        consumer.close()
        later = runtime.bus.broker.subscribe("demo:w", ["demo.go"])
        again = await anext(later)
        runtime.history.begin(present := Invocation("demo:w", "on_go", "event", again))
        later.handed_out(again.event_id)
        runtime.history.finish(left, "ok")
        assert later.event(again.event_id) is not None
        runtime.history.finish(present, "ok")
        assert later.event(again.event_id) is None


async def test_an_end_after_the_consumer_is_closed_is_noted(home):
    async with home.runtime() as runtime:
        consumer = runtime.bus.broker.subscribe("demo:w", ["demo.go"])
        await runtime.client().publish("demo.go", {"n": 1})
        event = await anext(consumer)
        runtime.history.begin(left := Invocation("demo:w", "on_go", "event", event))
        consumer.handed_out(event.event_id)
        consumer.close()
        runtime.history.finish(left, "ok")
        (cursor,) = await runtime.bus.broker.cursors()
        assert cursor.pending == 0


async def test_a_handler_that_somebody_ended_alone_has_handled_its_event(home):
    async with home.runtime() as runtime:
        added = await runtime.add(home.worker())
        await runtime.fire("demo.go", {"n": 1, "hold": True}, wait=False)
        await home.held.wait()
        (running,) = [one for one in runtime.history.invocations() if one.outcome == "running"]
        assert added.end_invocation(running)
        await handled(runtime)
        await added.restart(force=True)
        await runtime.fire("demo.go", {"n": 2})
        assert [n for n, _, _ in home.seen] == [1, 2]


async def test_an_event_of_one_worker_alone_comes_again_to_it_alone(home):
    other: list[int] = []
    async with home.runtime() as runtime:
        second = Worker("second")

        @second.on_event("demo.go")
        async def on_go(event, client):
            other.append(event.payload["n"])

        await runtime.add(home.worker())
        await runtime.add(second)
        await runtime.fire("demo.go", {"n": 1, "hold": True}, wait=False, only="bridge")
        await home.held.wait()
        await runtime.worker("bridge").restart(force=True)
        await runtime.worker("second").restart(force=True)
        while len(home.seen) < 2:
            await asyncio.sleep(0.01)
        assert other == []


async def test_a_runtime_that_was_stopped_starts_again_and_goes_on(home):
    runtime = home.runtime()
    for n in (1, 2, 3):
        async with runtime:
            if n == 1:
                await runtime.add(home.worker())
            else:
                await runtime.worker("bridge").restart()
            await runtime.fire("demo.go", {"n": n})
            assert not [one for one in await runtime.bus.broker.cursors() if one.pending]
            kept = [event.event_id for event in runtime.bus.broker.outlet.kept(None, 0)]
            assert len(kept) == len({*kept})
    assert home.seen == [(1, False, 1), (2, False, 1), (3, False, 1)]


async def test_a_start_that_fails_lets_go_of_the_file(home, monkeypatch):
    async def fail(*_, **__):
        raise BrokerError("the disk does not answer")

    runtime = home.runtime()
    monkeypatch.setattr(runtime.bus.broker, "replay", fail)
    with pytest.raises(BrokerError, match="does not answer"):
        await runtime.start()
    async with home.runtime() as other:
        await other.client().publish("demo.go", {"n": 1})


async def test_a_disk_that_is_full_refuses_the_event_and_nobody_gets_it(home):
    async with Runtime(port=0, broker=SqliteBroker(home.file)) as runtime:
        await runtime.add(home.worker())
        await runtime.bus.broker.do(_leave_no_room)
        async with httpx.AsyncClient(
            base_url=runtime.url, headers={"Authorization": f"Bearer {runtime.tokens.main}"}, trust_env=False
        ) as client:
            body = {"kind": "demo.go", "payload": {"n": 1, "text": "x" * 100_000}}
            answers = [await client.post("/api/events", json=body) for _ in range(3)]
        refused = answers[-1]
        assert refused.status_code == 507
        assert "is full" in refused.json()["detail"]
        accepted = sum(answer.status_code == 200 for answer in answers)
        await runtime.settle()
        assert len(home.seen) == accepted
        with pytest.raises(NotStored, match="is full"):
            await runtime.fire("demo.go", {"n": 2, "text": "x" * 100_000})


def _leave_no_room(connection):
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


async def test_what_nobody_waits_for_is_said_when_it_is_refused(home, caplog):
    async with home.runtime() as runtime:
        await runtime.bus.broker.do(_leave_no_room)
        event = runtime.publish("demo.go", {"text": "x" * 100_000})
        with pytest.raises(NotStored):
            await runtime.bus.accepted(event)
        assert "was not published" in caplog.text
        assert "lost for all" in runtime.history.losses_of(event.event_id)[0]


async def test_a_runtime_that_runs_keeps_its_broker(home):
    async with home.runtime() as runtime:
        with pytest.raises(Conflict, match="the runtime runs"):
            runtime.use_broker(MemoryBroker())


async def test_invocations_are_in_the_same_file(home):
    async with home.runtime() as runtime:
        await runtime.add(home.worker())
        await runtime.fire("demo.go", {"n": 1})
    with JournalReader(home.file) as reader:
        assert [one.handler for one in reader.invocations()] == ["on_go"]


@pytest.mark.parametrize("options", [{"broker": True}, {"journal": "events.db"}])
async def test_a_relative_file_is_that_of_the_directory_at_the_construction(tmp_path, monkeypatch, options):
    for name in ("first", "then"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    if "broker" in options:
        options = {"broker": SqliteBroker("events.db")}
    runtime = Runtime(port=None, **options)
    monkeypatch.chdir(tmp_path / "then")
    async with runtime:
        pass
    assert (tmp_path / "first" / "events.db").exists()
    assert list((tmp_path / "then").iterdir()) == []
