"""A real `serve` that is asked to end: nothing that it accepted is lost in silence."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from itertools import count

import httpx
import pytest

from dnworker.cli.stop_options import EndTimes
from tests.attack.served import make_capability, serving

WORKER = """
import asyncio, pathlib
from dnworker import Worker
worker = Worker("w")
seen = pathlib.Path(__file__).with_name("seen.txt")

@worker.on_event("demo.go")
async def go(event, client):
    await asyncio.sleep(event.payload.get("seconds", 0))
    with seen.open("a") as file:
        file.write(f"{event.payload['n']}\\n")

@worker.on_event("demo.hang")
async def hang(event, client):
    print("at it", flush=True)
    await asyncio.sleep(3600)

@worker.on_event("demo.burst")
async def burst(event, client):
    print("at it", flush=True)
    await asyncio.sleep(0.7)
    for n in range(1000):
        await client.publish("demo.go", {"n": n})

@worker.on_event("demo.late")
async def late(event, client):
    try:
        print("at it", flush=True)
        await asyncio.sleep(3600)
    finally:
        for n in range(7):
            await client.publish("demo.go", {"n": n})
"""
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(3600)\n"

pytestmark = pytest.mark.slow


def seen_in(root):
    file = root / "seen.txt"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def capability(tmp_path, workers="w: {path: w.py}", **files):
    return make_capability(tmp_path / "cap", workers, {"w.py": WORKER, **files})


async def ended(served, within=15.0):
    """Return the exit code and the seconds since the call, with everything read of its output."""
    began = time.monotonic()
    code = await asyncio.wait_for(served.process.wait(), within)
    await asyncio.gather(*served.readers)
    return code, time.monotonic() - began


def test_by_default_the_times_of_an_end_are_what_they_were():
    times = EndTimes()
    assert (times.within, times.handlers_end, times.process_ends) == (6.5, 4.9, 9.0)
    assert (times.tracebacks, times.kill) == (9.4, 9.6)


@pytest.mark.parametrize("within", [0.5, 6.5, 60.0, 3600.0])
@pytest.mark.parametrize("drain", [0.0, 30.0])
def test_the_times_of_an_end_come_one_after_the_other(within, drain):
    times = EndTimes(within, drain)
    order = [times.drain + times.work_off, times.handlers_end, times.drain + within, times.process_ends]
    assert sorted(order) == order
    assert times.process_ends < times.tracebacks < times.kill


async def test_it_ends_at_once_where_nothing_runs_and_nothing_waits(tmp_path):
    async with serving(tmp_path, capability(tmp_path), "--stop-within", "60") as served:
        served.process.send_signal(signal.SIGINT)
        code, seconds = await ended(served)
    assert code == 0
    assert seconds < 5
    assert [line for line in served.err if "waiting" in line or "cancelled" in line] == []


async def test_a_drain_goes_on_serving_and_says_that_it_is_not_ready(tmp_path):
    root = capability(tmp_path)
    async with serving(tmp_path, root, "--drain", "2") as served:
        served.process.send_signal(signal.SIGTERM)
        while (answer := await served.client.get("/api/ready")).status_code == 200:
            await asyncio.sleep(0.01)
        assert (answer.status_code, answer.json()["stage"], answer.json()["status"]) == (
            503,
            "stopping",
            "stopping",
        )
        assert 1 <= int(answer.headers["retry-after"]) <= 12
        health = await served.client.get("/api/health")
        assert (health.status_code, health.json()["status"], health.json()["stage"]) == (
            200,
            "ok",
            "stopping",
        )
        await served.publish("demo.go", {"n": 1})
        code, seconds = await ended(served)
    assert (code, seen_in(root)) == (0, [1])
    assert seconds > 1


async def test_a_handler_that_runs_may_end(tmp_path):
    root = capability(tmp_path)
    async with serving(tmp_path, root) as served:
        await served.publish("demo.go", {"n": 1, "seconds": 1.5})
        served.process.send_signal(signal.SIGTERM)
        assert (await ended(served))[0] == 0
    assert seen_in(root) == [1]


async def test_a_handler_that_never_ends_is_named_and_cancelled_in_time(tmp_path):
    async with serving(tmp_path, capability(tmp_path), "--stop-within", "2") as served:
        await served.publish("demo.hang")
        served.process.send_signal(signal.SIGTERM)
        code, seconds = await ended(served)
    assert code == 0
    assert seconds < 3
    assert "1 handler had not ended after 1 s and is cancelled: 1 demo:w.hang" in served.err


async def test_a_thousand_events_that_a_handler_publishes_at_the_end_are_handled(tmp_path):
    root = capability(tmp_path)
    async with serving(tmp_path, root, "--stop-within", "30") as served:
        await served.publish("demo.burst")
        served.process.send_signal(signal.SIGTERM)
        assert (await ended(served, 40))[0] == 0
    assert sorted(seen_in(root)) == [*range(1000)]


async def test_events_that_are_published_when_workers_stop_are_counted(tmp_path):
    root = capability(tmp_path)
    async with serving(tmp_path, root, "--stop-within", "2") as served:
        await served.publish("demo.late")
        served.process.send_signal(signal.SIGTERM)
        await ended(served)
    assert "7 events were published that no worker got: 7 demo.go" in served.err
    assert seen_in(root) == []


async def test_a_second_signal_ends_it_at_once_during_a_drain(tmp_path):
    async with serving(tmp_path, capability(tmp_path), "--drain", "60") as served:
        served.process.send_signal(signal.SIGTERM)
        await served.line("stopping")
        served.process.send_signal(signal.SIGTERM)
        code, seconds = await ended(served)
    assert (code, seconds < 3) == (1, True)


async def test_a_process_that_ignores_sigterm_is_killed_in_time(tmp_path):
    workers = f"w: {{path: w.py}}\nstubborn: {{command: {sys.executable}, args: [s.py]}}"
    root = capability(tmp_path, workers, **{"s.py": STUBBORN})
    async with serving(tmp_path, root, "--stop-within", "1") as served:
        while not (await served.detail("demo:stubborn"))["process"]["recent_output"]:
            await asyncio.sleep(0.05)
        served.process.send_signal(signal.SIGTERM)
        code, seconds = await ended(served)
    assert (code, seconds < 4) == (1, True)
    assert any("the process of demo:stubborn" in line for line in served.err)


async def test_files_of_a_runtime_that_was_killed_are_removed_by_the_next(tmp_path):
    root = capability(tmp_path)
    for _ in range(2):
        async with serving(tmp_path, root) as served:
            files = (served.home / ".dreadnode" / "dnworker").glob("runtime-*")
            assert [file.name for file in files] == [f"runtime-{served.pid}.json"]
            served.process.kill()
            await served.process.wait()


async def test_a_full_disk_does_not_keep_it_from_ending(tmp_path):
    root, status = capability(tmp_path), 200
    limit = "trap '' XFSZ; ulimit -f 2048"  # blocks of 1 KiB: what is written beyond them fails
    async with serving(tmp_path, root, "--durable", limits=limit) as served:
        async with asyncio.timeout(30):
            while status == 200:
                body = {"kind": "demo.none", "payload": {"text": "x" * 50_000}}
                status = (await served.client.post("/api/events", json=body)).status_code
        assert status == 507
        served.process.send_signal(signal.SIGTERM)
        code, seconds = await ended(served)
    assert (code in (0, 1), seconds < 10) == (True, True)


async def flood(served, numbers, accepted, seconds):
    """Publish as fast as it goes until the runtime is gone; notes the numbers that got a 2xx answer."""
    refused = 0
    while True:
        n = next(numbers)
        try:
            body = {"kind": "demo.go", "payload": {"n": n, "seconds": seconds}}
            answer = await served.client.post("/api/events", json=body)
        except httpx.TransportError:
            return refused
        if answer.is_success:
            accepted.add(n)
        else:
            assert (answer.status_code, answer.headers["dnworker-code"]) == (503, "DN931")
            assert int(answer.headers["retry-after"]) >= 1
            refused += 1
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("options", [[], ["--durable"]], ids=["memory", "durable"])
async def test_every_event_that_was_accepted_during_a_drain_is_handled_or_kept(tmp_path, options):
    root, accepted, numbers = capability(tmp_path), set(), count()
    options = [*options, "--drain", "0.5", "--stop-within", "6.5"]
    async with serving(tmp_path, root, *options) as served:
        floods = [asyncio.create_task(flood(served, numbers, accepted, 0.2)) for _ in range(4)]
        floods.append(asyncio.create_task(flood(served, numbers, accepted, 1.0)))
        while len(accepted) < 50:
            await asyncio.sleep(0.01)
        served.process.send_signal(signal.SIGTERM)
        assert (await ended(served))[0] == 0
        refused = sum(await asyncio.gather(*floods))
    if "--durable" not in options:
        assert refused > 0
        assert sorted(seen_in(root)) == sorted(accepted)
        return
    async with serving(tmp_path, root, *options) as served:
        async with asyncio.timeout(30):
            while not accepted <= set(seen_in(root)):
                await asyncio.sleep(0.05)
    assert len(accepted) > 50
