"""A `worker.state` that is kept: what is written, what is left out, what is there at the next start."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Runtime, Worker, WorkerState
from dnworker.core.plain_state import DEEPEST, LARGEST_STATE, PlainState, read_state
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.workers.inprocess_worker import Generation
from dnworker.workers.kept_state import KeptState, name_of

from ..capabilities import make_capability

NAME = "notebook:bridge"


def make_worker(seen=None):
    worker = Worker("bridge")

    @worker.on_startup
    async def start(client):
        if seen is not None:
            seen.append(dict(worker.state))

    @worker.on_event("demo.add")
    async def add(event, client):
        worker.state["n"] = worker.state.get("n", 0) + 1
        worker.state |= event.payload.get("also", {})

    return worker


async def kept(broker, name=NAME):
    entry = await broker.get(name_of(name))
    return None if entry is None else json.loads(entry.value)


async def test_the_next_runtime_has_the_state_before_the_startup_handlers():
    broker, seen = MemoryBroker(), []
    for count in (1, 2):
        async with Runtime(port=None, broker=broker, keep_state=[NAME]) as runtime:
            await runtime.add(make_worker(seen))
            await runtime.fire("demo.add", {"also": {"list": [count]}})
    assert seen == [{}, {"n": 1, "list": [1]}]
    assert await kept(broker) == {"n": 2, "list": [2]}


async def test_by_default_nothing_is_kept(runtime):
    await runtime.add(make_worker())
    await runtime.fire("demo.add")
    await runtime.remove("bridge")
    assert await kept(runtime.bus.broker) is None


async def test_a_kill_right_after_an_invocation_loses_nothing_that_was_written():
    broker, seen = MemoryBroker(), []
    runtime = Runtime(port=None, broker=broker, keep_state=[NAME])
    await runtime.start()
    written = asyncio.Event()
    put = broker.put

    async def tells(*args, **options):
        entry = await put(*args, **options)
        written.set()
        return entry

    broker.put = tells
    await runtime.add(make_worker())
    written.clear()
    await runtime.fire("demo.add")
    await written.wait()
    after = Runtime(port=None, broker=broker, keep_state=[NAME])  # as if the first were gone without a word
    async with after:
        await after.add(make_worker(seen))
    assert seen == [{"n": 1}]
    await runtime.stop()


async def test_a_restart_restores_it_and_one_that_begins_anew_forgets_it():
    broker, seen = MemoryBroker(), []
    async with Runtime(port=None, broker=broker, keep_state=[NAME]) as runtime:
        managed = await runtime.add(make_worker(seen))
        await runtime.fire("demo.add")
        await managed.stop()
        managed.worker.state.clear()
        await managed.start()
        assert seen == [{}, {"n": 1}]
        await managed.stop()
        managed.worker.state.clear()
        managed.begins_anew = True
        await managed.start()
        assert seen == [{}, {"n": 1}, {}]


async def test_a_worker_says_that_its_state_is_kept():
    async with Runtime(port=None, keep_state=[NAME]) as runtime:
        managed = await runtime.add(make_worker())
        other = await runtime.add(Worker("other"))
        assert managed.topology_label == "in-process, state is kept"
        assert (managed.detail()["keeps_state"], "keeps_state" in other.detail()) == (True, False)


class Saved:
    """What a kept state has written and said."""

    def __init__(self, state):
        self.state, self.written, self.said = state, [], []
        self.full = False
        self.kept = KeptState(self.save, self.said.append)
        self.kept.state = lambda: self.state

    async def save(self, data):
        if self.full:
            raise OSError("disk full")
        self.written.append(json.loads(data))


async def test_many_invocations_are_few_writes_and_the_last_is_among_them():
    saved = Saved({"n": 0})
    for n in range(1_000):
        saved.state["n"] = n
        saved.kept.note()
    await saved.kept.close()
    assert saved.written == [{"n": 999}]


async def test_a_state_that_is_as_before_is_not_written_again():
    saved = Saved({"n": 0})
    saved.kept.note()
    await asyncio.sleep(0)
    saved.kept.note()
    await saved.kept.close()
    assert saved.written == [{"n": 0}]


async def test_keys_that_are_no_json_are_left_out_and_named_once():
    saved = Saved({"n": 1, "socket": object(), "seen": {1}, 7: "seven", "pair": (1, 2), "nan": float("nan")})
    for _ in range(2):
        saved.kept.note()
        await asyncio.sleep(0)
    await saved.kept.close()
    assert saved.written == [{"n": 1}]
    assert saved.said == [
        "worker.state is not kept in full: 'socket', 'seen', '7', 'pair', 'nan' are no JSON and begin anew at the "
        "next start; keep text, numbers, lists and dicts of these, at most 200 deep"
    ]


def nested(depth):
    value = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


async def test_what_is_nested_too_deep_is_left_out_and_named():
    saved = Saved({"n": 1, "all right": nested(DEEPEST), "deep": nested(DEEPEST + 1), "deeper": nested(700)})
    saved.kept.note()
    await saved.kept.close()
    assert saved.written == [{"n": 1, "all right": nested(DEEPEST)}]
    (said,) = saved.said
    assert "'deep', 'deeper' are no JSON and begin anew" in said


@pytest.mark.parametrize(
    "data", [b'{"a":' + b"[" * 99_999 + b"]" * 99_999 + b"}", b"[1]", b"\xff", b'{"a":"\xff"}']
)
async def test_a_kept_state_that_cannot_be_read_keeps_no_worker_from_its_start(data):
    broker, seen = MemoryBroker(), []
    await broker.put(name_of(NAME), data)
    async with Runtime(port=None, broker=broker, keep_state=[NAME]) as runtime:
        await runtime.add(make_worker(seen))
        assert runtime.worker("bridge").state is WorkerState.RUNNING
        (line,) = [one.text for one in runtime.logs.tail(50, NAME) if "not restored" in one.text]
    assert seen == [{}]
    assert line.startswith(
        "worker.state is not restored, and begins anew: what is kept of it cannot be read ("
    )


async def test_a_process_whose_kept_state_cannot_be_read_starts(tmp_path):
    root = make_capability(
        tmp_path, "counter: {command: PYTHON, args: [counter.py]}", {"counter.py": COUNTER}
    )
    async with Runtime(port=0, keep_state=["demo:counter"]) as runtime, asyncio.timeout(60):
        heard = runtime.bus.subscribe(["demo.started"])
        await runtime.bus.broker.put(name_of("demo:counter"), json.dumps({"a": nested(DEEPEST + 1)}).encode())
        await runtime.load(root)
        assert (await anext(heard)).payload == {"n": 0}
        (line,) = [one.text for one in runtime.logs.tail(50, "demo:counter") if "not restored" in one.text]
        assert line.endswith("cannot be read ('a' is nested over 200 deep)")


async def test_a_state_that_is_too_large_is_told_once_and_the_last_that_fitted_stays():
    saved = Saved({"n": 1})
    saved.kept.note()
    await asyncio.sleep(0)
    for _ in range(2):
        saved.state["big"] = "x" * LARGEST_STATE
        saved.kept.note()
        await saved.kept.close()
    assert saved.written == [{"n": 1}]
    (said,) = saved.said
    assert "it is 1,000,016 bytes, over 1,000,000 (largest: 'big' 1,000,002, 'n' 1)" in said


async def test_what_could_not_be_written_is_told_and_written_with_the_next_change():
    saved = Saved({"n": 1})
    saved.full = True
    saved.kept.note()
    await asyncio.sleep(0)
    saved.full = False
    saved.kept.note()
    await saved.kept.close()
    assert saved.written == [{"n": 1}]
    assert saved.said == [
        "worker.state is not kept: disk full; the next change and the stop of the worker try again",
        "worker.state is kept again",
    ]


async def test_each_time_in_which_it_is_not_kept_is_told_with_its_end():
    saved = Saved({"n": 0})
    for n, value in enumerate(["x", "x" * LARGEST_STATE, "x", "x" * LARGEST_STATE, "x"]):
        for saved.full in (True, True, False):
            saved.state = {"n": n, "text": value}
            saved.kept.note()
            await saved.kept.flush()
    texts = [text.partition(":")[2].partition(";")[0].partition(",")[0].strip() for text in saved.said]
    assert texts == ["disk full", "", "it is 1", "disk full", "", "it is 1", "disk full", ""]
    assert [text for text in saved.said if ":" not in text] == ["worker.state is kept again"] * 3


async def test_a_state_that_fits_again_as_it_was_kept_is_kept_again():
    saved = Saved({"n": 1})
    for saved.state in ({"n": 1}, {"n": 1, "big": "x" * LARGEST_STATE}, {"n": 1}):
        saved.kept.note()
        await saved.kept.flush()
    assert saved.written == [{"n": 1}]
    assert saved.said[1:] == ["worker.state is kept again"]


async def test_what_could_not_be_written_is_written_at_the_end_though_nothing_has_changed_since():
    saved = Saved({"n": 1})
    saved.full = True
    saved.kept.note()
    await asyncio.sleep(0)
    assert saved.said
    saved.full = False
    await saved.kept.close()
    assert saved.written == [{"n": 1}]


async def follow(runtime, managed, also, *, anew=False):
    """Have a new generation take over; while it starts, the one that runs handles `demo.add` once more."""
    new, begun, let_go = make_worker(), asyncio.Event(), asyncio.Event()

    @new.on_startup
    async def warm(client):
        new.state["warm"] = True
        begun.set()
        await let_go.wait()

    managed.begins_anew = anew
    following = asyncio.create_task(
        managed.follow(Generation(2, managed.definition, lambda: new, lambda: new))
    )
    await begun.wait()
    await runtime.fire("demo.add", {"also": also})
    let_go.set()
    await following
    return new.state


async def test_what_the_present_generation_changes_while_the_next_starts_is_kept():
    broker = MemoryBroker()
    async with Runtime(port=None, broker=broker, keep_state=[NAME]) as runtime:
        managed = await runtime.add(make_worker())
        await runtime.fire("demo.add", {"also": {"old": 1}})
        state = await follow(runtime, managed, {"new": [2]})
        assert state == {"n": 2, "old": 1, "new": [2], "warm": True}
    assert await kept(broker) == {"n": 2, "old": 1, "new": [2], "warm": True}


async def test_what_both_generations_change_while_the_next_starts_is_as_the_next_has_it_and_is_said():
    async with Runtime(port=None, keep_state=[NAME]) as runtime:
        managed = await runtime.add(make_worker())
        await runtime.fire("demo.add")
        assert await follow(runtime, managed, {"warm": "?"}) == {"n": 2, "warm": True}
        said = [line.text for line in runtime.logs.tail(worker=NAME)]
        assert any("'warm' was changed by the handlers before, too" in text for text in said)


async def test_a_generation_that_begins_anew_takes_nothing_of_the_present_one():
    async with Runtime(port=None, keep_state=[NAME]) as runtime:
        managed = await runtime.add(make_worker())
        await runtime.fire("demo.add")
        assert await follow(runtime, managed, {"n": 7}, anew=True) == {"warm": True}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text() | st.binary(max_size=2)
    | st.tuples(st.integers()) | st.sets(st.integers(), max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=3) | st.integers(), VALUES, max_size=4))
def test_what_is_written_comes_back_the_same_and_the_rest_is_named(state):
    plain = PlainState()
    for _ in range(2):
        back = read_state(plain.write(state))
        assert repr(back) == repr({key: state[key] for key in back if key in state})
        assert len(back) + len(plain.left_out) == len(state)


COUNTER = """
from dnworker import Worker
worker = Worker(name="counter")

@worker.on_startup
async def start(client):
    await client.publish("demo.started", {"n": worker.state.get("n", 0)})

@worker.on_event("demo.add")
async def add(event, client):
    worker.state["n"] = worker.state.get("n", 0) + 1
    await client.publish("demo.added", {"n": worker.state["n"]})

if __name__ == "__main__":
    worker.run()
"""


async def test_a_process_that_is_killed_begins_with_the_state_that_it_had(tmp_path):
    root = make_capability(
        tmp_path, "counter: {command: PYTHON, args: [counter.py]}", {"counter.py": COUNTER}
    )
    async with Runtime(port=0, keep_state=["demo:counter"]) as runtime, asyncio.timeout(60):
        heard = runtime.bus.subscribe(["demo.started", "demo.added"])
        await runtime.load(root)
        assert (await anext(heard)).payload == {"n": 0}
        await runtime.fire("demo.add")
        assert (await anext(heard)).payload == {"n": 1}
        while await kept(runtime.bus.broker, "demo:counter") != {"n": 1}:
            await asyncio.sleep(0.01)
        worker = runtime.worker("counter")
        os.kill(worker.detail()["process"]["pid"], signal.SIGKILL)
        while worker.state is not WorkerState.ERROR:
            await asyncio.sleep(0.01)
        await worker.restart()
        assert (await anext(heard)).payload == {"n": 1}
        assert "state is kept" in worker.topology_label


async def test_only_a_worker_whose_state_is_kept_may_keep_it(tmp_path):
    from dnworker import RuntimeClient

    async with Runtime(port=0) as runtime:
        await runtime.add(make_worker())
        client = RuntimeClient(runtime.url, auth_token=runtime.tokens.mint(NAME))
        with pytest.raises(Exception, match="none whose state is kept; start it with --keep-state"):
            await client.connection.request("GET", "/api/state")
        await client.close()
