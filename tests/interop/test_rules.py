"""A notebook with every rule of `dnworker.patterns`, exported to both targets, does the same in both runtimes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from dnworker import Runtime
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.syntax.cell import Cell

from .environment import reference_python
from .test_reference import first_answer, reference_runtime

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

CELLS = [
    "from dnworker.patterns import batch, debounce, limit, once, throttle",
    """%%worker rules
import asyncio

running = []

@worker.on_event("rules.ready")
async def ready(event, client):
    await client.publish("rules.ready-too", {})

@worker.on_event("rules.go")
@debounce(seconds=3, key=lambda e: e.payload["key"])
async def calm(event, client):
    await client.publish("rules.done", {"rule": "debounce", "n": event.payload["n"]})

@worker.on_event("rules.go")
@batch(size=4, within=3)
async def together(events, client):
    await client.publish("rules.done", {"rule": "batch", "n": [event.payload["n"] for event in events]})

@worker.on_event("rules.go")
@limit(at_once=1)
async def alone(event, client):
    running.append(event)
    await asyncio.sleep(0.01)
    await client.publish("rules.done", {"rule": "limit", "n": len(running)})
    running.pop()

@worker.on_event("rules.go")
@throttle(rate=1, per=60, else_="drop")
async def rare(event, client):
    await client.publish("rules.done", {"rule": "throttle", "n": 0})

@worker.on_event("rules.go")
@once(key=lambda e: e.payload["key"])
async def first(event, client):
    await client.publish("rules.done", {"rule": "once", "n": event.payload["key"]})

@worker.on_event("rules.wait")
@batch(size=9, within=3600)
async def waits(events, client):
    print("handled at the stop:", len(events))
""",
]

EXPECTED = sorted(
    [("debounce", 4), ("debounce", 5), ("batch", 2), ("batch", 4)]
    + [("limit", 1)] * 6
    + [("throttle", 0), ("once", "a"), ("once", "b")],
    key=str,
)
"""Of events 0 to 5, whose keys are `a` and `b` in turn; of lists, how many are in them."""


async def done_by_rules(client, publish: Callable[[str, dict[str, object]], Awaitable[object]]):
    """Publish six events, and return what the rules have done with them, however it is ordered."""
    events = client.subscribe("rules.done")
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await first_answer(client, "rules.ready-too", lambda: publish("rules.ready", {}), limit=120)
    for n in range(6):
        await publish("rules.go", {"n": n, "key": "ab"[n % 2]})
    async with asyncio.timeout(60):
        got = [await first, *[await anext(events) for _ in EXPECTED[1:]]]
    await events.aclose()
    found = [(one.payload["rule"], one.payload["n"]) for one in got]
    lists = [n for rule, n in found if rule == "batch"]
    assert [*map(sorted, lists)] == lists  # the reference begins handlers in any order
    assert sorted(n for numbers in lists for n in numbers) == [*range(6)]
    return sorted(((rule, len(n) if isinstance(n, list) else n) for rule, n in found), key=str)


@pytest.fixture(scope="session")
def sdk():
    """The interpreter of the reference's environment."""
    return reference_python()


async def test_the_export_for_the_reference_runs_in_the_real_runtime(sdk, tmp_path, unused_tcp_port):
    cells = [Cell(number, source) for number, source in enumerate(CELLS, 1)]
    write(plan_export(cells, default_name="rules"), tmp_path / "capabilities" / "rules")
    async with reference_runtime(sdk, tmp_path, tmp_path / "capabilities", unused_tcp_port) as client:
        assert await done_by_rules(client, client.publish) == EXPECTED
        detail = await client.fetch_worker_detail("rules", "rules")
        assert detail["process"]["command"] == "uv"


@pytest.mark.parametrize("target", ["dreadnode", "dnworker"])
async def test_the_export_runs_in_our_runtime_and_a_stop_handles_what_waits(
    sdk, tmp_path, monkeypatch, target
):
    monkeypatch.setenv("HOME", str(tmp_path))
    cells = [Cell(number, source) for number, source in enumerate(CELLS, 1)]
    plan = plan_export(cells, default_name="rules", target=target, topology="python")
    write(plan, tmp_path / "rules")
    python = sdk if target == "dreadnode" else sys.executable  # the SDK's environment has no dnworker
    manifest = tmp_path / "rules" / "capability.yaml"
    head = manifest.read_text().partition("workers:")[0]
    manifest.write_text(f"{head}workers:\n  rules: {{command: '{python}', args: [workers/rules.py]}}\n")
    async with Runtime(port=0) as runtime:
        await runtime.load(tmp_path / "rules")
        client = runtime.client()
        assert await done_by_rules(client, client.publish) == EXPECTED
        for _ in range(3):
            await client.publish("rules.wait", {})
        await first_answer(client, "rules.ready-too", lambda: client.publish("rules.ready", {}), limit=120)
        worker = runtime.worker("rules")
        await worker.stop()
        assert "handled at the stop: 3" in worker.detail()["process"]["recent_output"]
