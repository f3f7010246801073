"""What `fire` waits for before it fires, and what it refuses to wait for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from dnworker import Runtime, Worker
from dnworker.core.clock import turn_loop
from dnworker.core.listeners import Listeners
from dnworker.engine import starting
from dnworker.workers import subprocess_worker
from tests.unit.capabilities import ECHO, make_capability

PYTHON = "echo: {command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']}"


@pytest.fixture
async def served():
    async with Runtime(port=0) as runtime:
        yield runtime


@pytest.fixture
def said():
    return []


async def test_a_fire_right_after_a_load_waits_for_a_process_that_starts(served, said, tmp_path):
    await served.load(make_capability(tmp_path / "c", PYTHON, {"echo.py": ECHO}))
    trace = await served.fire("demo.ping", {"n": 1}, on_wait=said.append)
    assert [(i.handler, i.outcome) for i in trace.invocations] == [("ping", "ok")]
    assert said == ["waiting for echo to start"]
    assert (await served.fire("demo.ping", on_wait=said.append)).ok
    assert len(said) == 1


async def test_a_fire_during_a_reload_waits_for_its_end_and_for_what_it_starts(served, said, tmp_path):
    await served.load(make_capability(tmp_path / "c", PYTHON, {"echo.py": ECHO}))
    await served.fire("demo.ping")
    reload = asyncio.create_task(served.reload())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    trace = await served.fire("demo.ping", on_wait=said.append)
    assert [i.handler for i in trace.invocations] == ["ping"]
    assert (said[0], said[-1]) == ("waiting for the reload to end", "waiting for echo to start")
    await reload


async def test_a_process_that_takes_too_long_is_named_in_the_trace_and_gets_the_event_later(
    served, said, tmp_path, monkeypatch
):
    monkeypatch.setattr(starting, "STARTING_LIMIT", 0.05)
    gate = tmp_path / "gate"
    waits = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n{ECHO}"
    await served.load(make_capability(tmp_path / "c", PYTHON, {"echo.py": waits}))
    trace = await served.fire("demo.ping", on_wait=said.append)
    assert trace.not_listening == ("echo",)
    assert "(echo was still starting; it may get this when it listens)" in str(trace)
    gate.touch()
    async with asyncio.timeout(60):
        while not trace.invocations:
            await asyncio.sleep(0.01)
    await served.settle(60)
    assert trace.ok


async def test_a_program_that_never_listens_is_waited_for_once_and_shortly(
    served, said, tmp_path, monkeypatch
):
    monkeypatch.setattr(subprocess_worker, "PROGRAM_LIMIT", 0.05)
    await served.load(make_capability(tmp_path / "c", "relay: {command: sleep, args: ['100']}"))
    assert (await served.fire("a", on_wait=said.append)).not_listening == ()
    assert (await served.fire("a", on_wait=said.append)).not_listening == ()
    assert said in (["waiting for relay to start"], [])  # a busy machine is slower than the limit


async def test_a_process_without_handlers_of_events_is_not_waited_for(served, said, tmp_path):
    quiet = ECHO.replace(
        'on_event("demo.ping")\nasync def ping(event, client)', "task\nasync def ping(client)"
    )
    quiet = quiet.replace('print("got", event.payload)', "import asyncio; await asyncio.sleep(100)")
    await served.load(make_capability(tmp_path / "c", PYTHON, {"echo.py": quiet}))
    worker = served.worker("echo")
    async with asyncio.timeout(60):
        while not worker.stats:
            await asyncio.sleep(0.01)
    await served.fire("a", on_wait=said.append)
    assert said == []


async def test_a_wait_that_is_interrupted_says_that_nothing_was_fired(served, said, tmp_path):
    idle = "import time; time.sleep(100)"
    await served.load(make_capability(tmp_path / "c", PYTHON, {"echo.py": idle}))
    firing = asyncio.create_task(served.fire("a", on_wait=said.append))
    while not said:
        await asyncio.sleep(0)
    firing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await firing
    assert said == ["waiting for echo to start", "a was not fired"]
    assert all(event.kind != "a" for event in served.history.events())


async def test_a_process_that_fails_to_start_is_not_waited_for(served, tmp_path):
    await served.load(make_capability(tmp_path / "c", PYTHON, {"echo.py": "raise SystemExit(3)"}))
    async with asyncio.timeout(30):
        assert (await served.fire("a")).not_listening == ()


async def test_without_a_wait_nothing_is_waited_for(served, said, tmp_path):
    await served.load(make_capability(tmp_path / "c", PYTHON, {"echo.py": ECHO}))
    trace = await served.fire("demo.ping", wait=False, on_wait=said.append)
    assert (trace.invocations, said) == ([], [])
    await served.fire("demo.ping", only="echo", timeout=0)


async def test_a_worker_whose_startup_runs_is_named_and_gets_the_event_after_it(runtime, said):
    worker, go = Worker("slow"), asyncio.Event()

    @worker.on_startup
    async def begin(client):
        await go.wait()

    @worker.on_event("a")
    async def on_a(event, client): ...

    adding = asyncio.create_task(runtime.add(worker))
    await asyncio.sleep(0)
    firing = asyncio.create_task(runtime.fire("a", on_wait=said.append))
    other = await runtime.fire("b", on_wait=said.append)
    assert not other.invocations
    assert not firing.done()
    go.set()
    assert [i.handler for i in (await firing).invocations] == ["on_a"]
    assert said == ["waiting for slow to start"]
    await adding


# -- handlers that fire ------------------------------------------------------------------------------------


def firing_at_start(runtime, kind="a", **how) -> Worker:
    worker = Worker("w")

    @worker.on_startup
    async def begin(client):
        worker.state["trace"] = await runtime.fire(kind, **how)

    @worker.on_event("a")
    async def on_a(event, client): ...

    return worker


async def test_a_startup_that_waits_for_its_own_worker_is_refused_at_once(runtime):
    async with asyncio.timeout(60):
        managed = await runtime.add(firing_at_start(runtime))
    assert managed.state == "error"
    assert (
        "begin is on_startup of w, and waits for a, which w handles only after its startup" in managed.error
    )
    assert "(wait=False, --no-wait), or in a @worker.task" in managed.error
    with pytest.raises(Exception, match="would wait for itself"):
        await runtime.settle()


async def test_a_startup_that_waits_for_its_own_worker_by_way_of_another_is_refused(runtime):
    between = Worker("between")

    @between.on_event("first")
    async def on_first(event, client):
        await runtime.fire("a")

    await runtime.add(between)
    async with asyncio.timeout(60):
        managed = await runtime.add(firing_at_start(runtime, "first"))
    assert managed.state == "running"
    (run,) = managed.worker.state["trace"].invocations
    assert "would wait for itself" in run.error.message
    with pytest.raises(Exception, match="would wait for itself"):
        await runtime.settle()


@pytest.mark.parametrize("how", [{"wait": False}, {"kind": "b"}, {"only": "other"}])
async def test_a_startup_may_fire_whatever_does_not_wait_for_itself(runtime, how):
    await runtime.add(Worker("other"))
    managed = await runtime.add(firing_at_start(runtime, **how))
    assert managed.state == "running"
    await runtime.settle()


async def test_a_handler_may_fire_at_another_worker_and_see_what_came_of_it(runtime):
    first, second = Worker("first"), Worker("second")

    @first.on_event("a")
    async def on_a(event, client):
        first.state["seen"] = (await runtime.fire("b", {"n": event.payload["n"] + 1})).outcome

    @second.on_event("b")
    async def on_b(event, client):
        if event.payload["n"] == 3:
            raise KeyError("n")

    await runtime.add(first)
    await runtime.add(second)
    assert (await runtime.fire("a", {"n": 1})).ok
    assert first.state["seen"] == "ok"
    trace = await runtime.fire("a", {"n": 2})
    assert first.state["seen"] == "not ok"
    assert (trace.ok, [str(e.type) for e in trace.errors]) == (False, ["KeyError"])


async def test_a_circle_of_handlers_that_wait_for_each_other_ends_with_its_reason(runtime):
    worker = Worker("w")

    @worker.on_event("a")
    async def on_a(event, client):
        await runtime.fire("b")

    @worker.on_event("b")
    async def on_b(event, client):
        await runtime.fire("a")

    await runtime.add(worker)
    async with asyncio.timeout(30):
        trace = await runtime.fire("a")
    (error,) = trace.errors
    assert error.type == "UsageError"
    assert "100 fires deep: handlers fire in a circle" in error.message
    with pytest.raises(Exception, match="in a circle"):
        await runtime.settle()
    assert (await runtime.fire("c")).ok


def test_a_process_of_python_that_a_fire_waits_for_in_vain_is_still_expected_afterwards():
    limits = (subprocess_worker.PYTHON_LIMIT, subprocess_worker.UV_LIMIT)
    assert all(limit > starting.STARTING_LIMIT for limit in limits)


class Workers:
    """An engine whose only worker starts until the test says otherwise."""

    def __init__(self, expected_within=None):
        self.looks = 0
        self.is_reloading = False
        self.is_starting = True
        self.listeners = Listeners()
        self.listen = self.listeners.add
        self.expected_within = expected_within

    def workers(self):
        self.looks += 1
        return [
            SimpleNamespace(
                name="w",
                qualified_name="c:w",
                is_starting=self.is_starting,
                expected_within=self.expected_within,
                may_hear=lambda kind: True,
            )
        ]


async def test_a_fire_that_waits_looks_again_only_when_something_has_changed():
    workers = Workers()
    waiting = asyncio.create_task(starting.until_listening(workers, "a", None, None))
    await turn_loop()
    assert workers.looks == 1
    workers.listeners.notify()
    await turn_loop()
    assert workers.looks == 2
    workers.is_starting = False
    workers.listeners.notify()
    assert await waiting == ()
    assert (workers.looks, len(workers.listeners)) == (3, 0)


async def test_a_fire_that_waits_looks_again_when_a_silent_program_counts_as_up():
    workers = Workers(expected_within=0.01)
    asyncio.get_running_loop().call_later(0.005, lambda: setattr(workers, "is_starting", False))
    assert await starting.until_listening(workers, "a", None, None) == ()
    assert len(workers.listeners) == 0


@pytest.mark.parametrize("kind", ["on_startup", "on_event"])
async def test_a_handler_that_settles_is_told_at_once_that_it_would_wait_for_itself(runtime, kind):
    worker = Worker(name="w")

    async def begin(*args):
        await runtime.settle(None)

    (worker.on_startup if kind == "on_startup" else worker.on_event("a"))(begin)
    managed = await runtime.add(worker)
    error = (await runtime.fire("a")).errors[0].message if kind == "on_event" else managed.error
    assert "begin of w calls settle, which returns when no handler runs: it would wait for itself" in error


async def test_a_task_and_what_outlives_its_handler_may_settle(runtime):
    worker, settled = Worker(name="w"), asyncio.Queue()

    async def settle(name):
        await runtime.settle()
        settled.put_nowait(name)

    @worker.task
    async def watch(client):
        await settle("task")

    @worker.on_event("a")
    async def start(event, client):
        worker.state["task"] = asyncio.create_task(settle("outlives"))

    await runtime.add(worker)
    await runtime.fire("a")
    assert {await settled.get(), await settled.get()} == {"task", "outlives"}
