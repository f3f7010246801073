"""Clients in the runtime's process that other threads use, each with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from dnworker import EventEnvelope, Runtime, RuntimeClient, Worker
from dnworker.client import client as client_module
from dnworker.core import envelope
from dnworker.core.envelope import snapshot
from dnworker.core.errors import RuntimeUnavailable
from dnworker.engine import any_loop
from dnworker.events.brokers.sqlite.broker import SqliteBroker

THREADS, EACH = 3, 20


def run_in_thread(make: Any) -> asyncio.Future[Any]:
    """Run a coroutine by `asyncio.run` in a thread of its own; the result is waited for at most 10 s."""
    return asyncio.ensure_future(
        asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(make())), 10)
    )


@pytest.mark.parametrize("is_durable", [False, True], ids=["memory", "file"])
async def test_threads_publish_by_loops_of_their_own_and_nothing_is_lost_or_doubled(tmp_path, is_durable):
    handled: list[tuple[int, int]] = []
    worker = Worker("w")

    @worker.on_event("from.thread")
    async def on_event(event: EventEnvelope, client: RuntimeClient) -> None:
        handled.append((event.payload["thread"], event.payload["n"]))

    broker = SqliteBroker(tmp_path / "events.sqlite") if is_durable else None
    async with Runtime(port=None, broker=broker) as runtime:
        await runtime.add(worker)
        client = runtime.client()

        async def publish(thread: int) -> list[int]:
            return [
                (await client.publish("from.thread", {"thread": thread, "n": n}))["seq"] for n in range(EACH)
            ]

        seqs = await asyncio.gather(*(run_in_thread(lambda at=at: publish(at)) for at in range(THREADS)))
        await runtime.settle()
    assert len({seq for some in seqs for seq in some}) == THREADS * EACH
    assert all(some == sorted(some) for some in seqs)
    assert sorted(handled) == [(thread, n) for thread in range(THREADS) for n in range(EACH)]


async def test_a_payload_is_copied_once_on_the_runtimes_loop_and_before_the_wait_in_another_thread(
    monkeypatch,
):
    copied: list[int] = []

    def snapshot(payload: Any) -> tuple[dict[str, Any], int]:
        copied.append(threading.get_ident())
        return envelope.snapshot(payload)

    monkeypatch.setattr(client_module, "snapshot", snapshot)
    async with Runtime(port=None) as runtime:
        client = runtime.client()
        await client.publish("from.loop", {"n": 1})
        assert copied == [], "the runtime copies it"
        await run_in_thread(lambda: client.publish("from.thread", {"n": 1}))
    assert len(copied) == 1
    assert copied[0] != threading.get_ident()


async def test_what_a_thread_calls_is_done_on_the_runtimes_loop():
    threads: list[int] = []
    async with Runtime(port=None) as runtime:
        publish = runtime.publish

        def note(*args: Any, **options: Any) -> EventEnvelope:
            threads.append(threading.get_ident())
            return publish(*args, **options)

        runtime.publish = note  # type: ignore[method-assign]
        await run_in_thread(lambda: runtime.client().publish("x", {}))
    assert threads == [threading.get_ident()]


async def test_payloads_are_copied_by_the_client_in_a_thread_and_by_the_runtime_on_its_own_loop(monkeypatch):
    copied: list[int] = []

    def note(payload: Any) -> Any:
        copied.append(threading.get_ident())
        return snapshot(payload)

    monkeypatch.setattr("dnworker.client.client.snapshot", note)
    async with Runtime(port=None) as runtime:
        for client in (runtime.client(), runtime.client(worker="w")):
            await client.publish("x", {"n": 1})
            assert copied == []
        await run_in_thread(lambda: runtime.client().publish("x", {"n": 2}))
    assert len(copied) == 1
    assert copied[0] != threading.get_ident()


async def test_a_thread_gets_events_and_ends_its_subscription():
    async with Runtime(port=None) as runtime:

        async def first() -> int:
            async for event in runtime.client().subscribe("x"):
                return int(event.payload["n"])
            raise AssertionError("it ended")

        found = run_in_thread(first)
        while not found.done():  # it subscribes at some moment
            runtime.publish("x", {"n": 7})
            await asyncio.sleep(0.001)
        assert await found == 7


async def test_a_thread_runs_a_turn():
    async with Runtime(port=None) as runtime:

        async def echo(turn: Any) -> None:
            turn.say("heard")

        runtime.agents.register("echo", echo)
        answer = await run_in_thread(
            lambda: runtime.client().run_turn(session_id="s", message="hi", agent="echo")
        )
    assert answer["response_text"] == "heard"


async def test_a_loop_that_waits_for_the_thread_is_named_and_nothing_is_published(monkeypatch):
    monkeypatch.setattr(any_loop, "BEGIN_SECONDS", 0.05)
    errors: list[BaseException] = []
    async with Runtime(port=None) as runtime:
        client = runtime.client()

        def publish() -> None:
            try:
                asyncio.run(client.publish("x", {}))
            except RuntimeUnavailable as exc:
                errors.append(exc)

        before = runtime.bus.latest_seq
        thread = threading.Thread(target=publish)
        thread.start()
        thread.join(10)  # holds the loop
        await asyncio.sleep(0)
        assert runtime.bus.latest_seq == before
    assert ["stood still" in str(error) for error in errors] == [True]


async def test_a_client_of_a_runtime_that_has_ended_says_so_in_another_thread():
    def ended() -> RuntimeClient:
        async def make() -> RuntimeClient:
            async with Runtime(port=None) as runtime:
                return runtime.client()

        return asyncio.run(make())

    client = await asyncio.to_thread(ended)
    with pytest.raises(RuntimeUnavailable, match="has ended"):
        await client.publish("x", {})


class Elsewhere:
    """A loop that runs in a thread, as the home of a runtime, and a connection there."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.thread_id = self.thread.ident or 0
        self.has_begun = threading.Event()
        self.is_closed = False

    async def start(self) -> None:
        self.has_begun.set()
        await asyncio.sleep(3600)

    async def events(self, kinds: Any) -> Any:
        try:
            yield "first"
            await self.start()
        finally:
            await asyncio.sleep(0.01)
            self.is_closed = True

    def end(self) -> None:
        """End the loop as `asyncio.run` does."""

        async def cancel() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture
def elsewhere():
    found = Elsewhere()
    yield found
    if not found.loop.is_closed():
        found.end()


async def test_who_waits_for_an_event_of_another_loop_can_be_cancelled(elsewhere):
    connection = any_loop.AnyLoop(elsewhere, elsewhere)

    async def read() -> None:
        async for _ in connection.events([]):
            pass

    reading = asyncio.create_task(read())
    await asyncio.to_thread(elsewhere.has_begun.wait, 10)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert elsewhere.is_closed


async def test_a_call_during_which_the_runtime_ends_says_so_and_is_not_taken_for_a_cancellation(elsewhere):
    connection = any_loop.AnyLoop(elsewhere, elsewhere)
    calling = asyncio.create_task(connection.start())
    await asyncio.to_thread(elsewhere.has_begun.wait, 10)
    await asyncio.to_thread(elsewhere.end)
    with pytest.raises(RuntimeUnavailable, match="has ended"):
        await calling
