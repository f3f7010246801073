"""A worker on the runtime's own loop: its state, and a worker from a file."""

from __future__ import annotations

import pytest

from dnworker import Worker

from ..capabilities import ECHO, make_capability


@pytest.mark.clause("1.1 state")
async def test_state_is_seeded_once_and_empty_after_a_restart(runtime):
    worker = Worker("w")
    worker.state["seed"] = 1

    @worker.on_startup
    async def start(client):
        worker.state["started"] = worker.state.get("started", 0) + 1

    managed = await runtime.add(worker)
    worker.state["later"] = 2
    await managed.restart(force=True)
    assert worker.state == {"seed": 1, "started": 1}


async def test_an_in_process_capability_answers(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO}))
    trace = await runtime.fire("demo.ping", {"n": 1})
    assert [e.payload for e in trace.events()] == [{"n": 1}, {"echo": {"n": 1}}]
