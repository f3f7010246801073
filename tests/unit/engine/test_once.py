"""`client.once(key)`: who runs the body, who waits, and what a kill leaves."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Runtime, VirtualClock, Worker
from dnworker.core.errors import Conflict, Invalid, NotFound, UsageError
from dnworker.core.keys import KEY_SECONDS, LONGEST_KEY
from dnworker.engine import once, recent_keys
from dnworker.engine.once import OnceKeys
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.bus import EventBus


def client_of(runtime, worker="bridge"):
    return runtime.client(worker=worker, capability="demo")


async def do(client, key, done, *, fails=False):
    async with client.once(key) as first:
        if first:
            done.append(key)
            if fails:
                raise ValueError("no disk")


@pytest.fixture
def keys():
    """The keys of one runtime, on a broker and a clock that outlive it."""
    return make_keys(MemoryBroker(), VirtualClock())


def make_keys(broker, clock):
    return OnceKeys(EventBus(clock, broker=broker), clock)


async def test_the_second_of_a_key_is_told_so(runtime):
    client, done = client_of(runtime), []
    for key in ("a", "a", "b"):
        await do(client, key, done)
    assert done == ["a", "b"]


async def test_workers_have_keys_of_their_own(runtime):
    done = []
    await do(client_of(runtime), "a", done)
    await do(client_of(runtime, "relay"), "a", done)
    await do(runtime.client(), "a", done)
    assert done == ["a", "a", "a"]


async def test_a_body_that_raises_is_not_done(runtime):
    client, done = client_of(runtime), []
    with pytest.raises(ValueError, match="no disk"):
        await do(client, "a", done, fails=True)
    await do(client, "a", done)
    await do(client, "a", done)
    assert done == ["a", "a"]


async def test_who_comes_while_another_is_in_the_body_waits_for_its_end(runtime):
    client, inside, leave, second = client_of(runtime), asyncio.Event(), asyncio.Event(), []

    async def first():
        async with client.once("a") as is_first:
            assert is_first
            inside.set()
            await leave.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first())
        await inside.wait()
        waiting = tasks.create_task(do(client, "a", second))
        await do(client, "b", second)
        assert not waiting.done()
        leave.set()
    assert second == ["b"]


async def test_who_waits_runs_the_body_when_the_one_in_it_is_cancelled(runtime):
    client, inside, done = client_of(runtime), asyncio.Event(), []

    async def hangs():
        async with client.once("a"):
            inside.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hangs())
    await inside.wait()
    waiting = asyncio.create_task(do(client, "a", done))
    hanging.cancel()
    await waiting
    assert done == ["a"]


async def test_a_key_within_itself_is_refused_where_it_would_wait_for_itself(runtime):
    client, done = client_of(runtime), []
    async with client.once("a"):
        await do(client, "b", done)
        with pytest.raises(
            UsageError, match=r"once\('a'\) within the body of once\('a'\) would wait for itself"
        ):
            await do(client, "a", done)
    await do(client, "a", done)
    assert done == ["b"]


async def test_a_key_is_forgotten_after_a_day_of_the_runtimes_clock():
    async with Runtime(port=None, clock=VirtualClock()) as runtime:
        client, done = client_of(runtime), []
        await do(client, "a", done)
        await runtime.clock.advance(KEY_SECONDS - 1)
        await do(client, "a", done)
        assert done == ["a"]
        await runtime.clock.advance(2)
        await do(client, "a", done)
        assert done == ["a", "a"]


@pytest.mark.parametrize("key", ["", "k" * (LONGEST_KEY + 1), 7, "\ud800"])
async def test_a_key_that_is_none_is_refused_at_once(runtime, key):
    with pytest.raises(Invalid, match="key"):
        client_of(runtime).once(key)


async def test_of_too_many_keys_the_oldest_are_forgotten_with_one_warning(runtime, monkeypatch, caplog):
    monkeypatch.setattr(recent_keys, "KEYS_KEPT", 3)
    client, done = client_of(runtime), []
    for n in range(5):
        await do(client, f"k{n}", done)
    assert len(await runtime.bus.broker.keys("once/demo:bridge/")) == 3
    await do(client, "k0", done)
    await do(client, "k4", done)
    assert done == ["k0", "k1", "k2", "k3", "k4", "k0"]
    (warned,) = [r.getMessage() for r in caplog.records if r.name == "dnworker.keys"]
    assert warned == "demo:bridge has used more than 3 keys of 'once' within a day; the oldest are forgotten"


async def test_keys_that_have_ended_leave_the_store(monkeypatch):
    broker, clock = MemoryBroker(), VirtualClock()
    async with Runtime(port=None, clock=clock, broker=broker) as runtime:
        await do(client_of(runtime), "old", [])
        await clock.advance(KEY_SECONDS + 1)
        await do(client_of(runtime), "new", [])
    assert list(broker._values) == ["once/demo:bridge/new"]


async def test_a_handler_does_an_event_that_comes_twice_once(runtime):
    worker, mails = Worker("bridge"), []

    @worker.on_event("demo.order")
    async def on_order(event, client):
        async with client.once(f"mail-{event.payload['order']}") as first:
            if first:
                mails.append(event.payload["order"])

    await runtime.add(worker)
    for order in (1, 2, 1):
        await runtime.fire("demo.order", {"order": order})
    assert mails == [1, 2]


async def test_the_next_runtime_knows_what_is_done_and_runs_what_was_under_way_again(keys):
    broker, clock = MemoryBroker(), VirtualClock()
    killed = make_keys(broker, clock)
    assert await killed.begin("w", "done", "1")
    await killed.end("w", "1", done=True)
    assert await killed.begin("w", "under way", "2")
    after = make_keys(broker, clock)
    assert not await after.begin("w", "done", "3")
    assert await after.begin("w", "under way", "4")


async def test_what_a_process_was_in_is_free_when_it_is_gone(keys):
    assert await keys.begin("w", "a", "1", holder="token")
    waiting = asyncio.create_task(keys.begin("w", "a", "2", holder="next"))
    keys.let_go("token")
    assert await waiting
    with pytest.raises(NotFound, match="another may have run it"):
        await keys.end("w", "1", done=True)
    await keys.end("w", "2", done=True)
    assert not await keys.begin("w", "a", "3")


async def test_nobody_ends_the_body_of_another_worker(keys):
    assert await keys.begin("w", "a", "1")
    with pytest.raises(NotFound):
        await keys.end("other", "1", done=True)


async def test_a_process_is_in_so_many_bodies_at_most(keys, monkeypatch):
    monkeypatch.setattr(once, "CLAIMS_KEPT", 2)
    for n in range(2):
        assert await keys.begin("w", f"k{n}", f"{n}", holder="token")
    with pytest.raises(Conflict, match="w is in 2 bodies"):
        await keys.begin("w", "k2", "2", holder="token")
    await keys.end("w", "0", done=False)
    assert await keys.begin("w", "k2", "2", holder="token")


async def test_a_client_whose_end_nobody_sees_has_ten_minutes(keys, monkeypatch):
    monkeypatch.setattr(once, "ABANDONED_SECONDS", 0.0)
    assert await keys.begin("", "a", "1", holder="main", may_vanish=True)
    assert await keys.begin("", "a", "2")


async def test_what_cannot_be_kept_is_an_error_of_the_handler_and_the_next_may_run(runtime, monkeypatch):
    client, done = client_of(runtime), []

    async def full(*args, **options):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(runtime.bus.broker, "put", full)
        with pytest.raises(OSError, match="disk full"):
            await do(client, "a", done)
    await do(client, "a", done)
    assert done == ["a", "a"]


async def test_an_attempt_that_is_cancelled_while_it_asks_leaves_the_key_free(runtime, monkeypatch):
    client, asked, done = client_of(runtime), asyncio.Event(), []
    get = runtime.bus.broker.get

    async def slow(key):
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(runtime.bus.broker, "get", slow)
    asking = asyncio.create_task(do(client, "a", done))
    await asked.wait()
    asking.cancel()
    await asyncio.wait({asking})
    monkeypatch.setattr(runtime.bus.broker, "get", get)
    await do(client, "a", done)
    assert done == ["a"]


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "ok", "raise", "kill"]), st.integers(0, 2)), max_size=40
)


@given(ACTIONS)
def test_whatever_is_killed_nobody_is_beside_another_in_a_body_or_after_one_that_ended_well(actions):
    asyncio.run(_play(actions))


async def _play(actions):
    broker, clock = MemoryBroker(), VirtualClock()
    keys, count = make_keys(broker, clock), 0
    done: set[int] = set()
    waiting: dict[asyncio.Task[bool], tuple[int, str]] = {}
    inside: dict[int, str] = {}

    async def settle():
        for _ in range(10):
            await asyncio.sleep(0)
        for task, (key, claim) in [*waiting.items()]:
            if task.done():
                del waiting[task]
                if task.result():
                    assert key not in inside
                    assert key not in done
                    inside[key] = claim
                else:
                    assert key in done

    for action, key in actions:
        if action == "begin":
            count += 1
            waiting[asyncio.create_task(keys.begin("w", f"{key}", f"{count}"))] = key, f"{count}"
        elif action == "kill":
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            waiting.clear()
            inside.clear()
            keys = make_keys(broker, clock)
        elif key in inside:
            await keys.end("w", inside.pop(key), done=action == "ok")
            done |= {key} if action == "ok" else set()
        await settle()
        assert all(key in inside for key, _ in waiting.values())  # whoever waits, waits for somebody


async def test_a_refusal_over_the_connection_is_the_error_that_http_gives(runtime):
    with pytest.raises(httpx.HTTPStatusError, match="under way any more"):
        await client_of(runtime).connection.end_once("none", done=True)
