"""`%%worker --keep-state` in a real kernel: the state is there after a restart, and in a process."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel

COUNTS = """
%%worker w --keep-state
worker.state["n"] = 0

@worker.on_event('add')
async def add(event, client):
    worker.state["n"] += 1
    print('now', worker.state["n"])
""".strip()


def test_a_kept_state_outlives_restarts_and_goes_along_into_a_process(kernel):
    kernel.run(COUNTS, "c1")
    assert "| now 1" in kernel.run("%fire add").text
    assert "in-process, state is kept" in kernel.run("%worker w").text
    kernel.run("%worker restart w")
    assert "| now 2" in kernel.run("%fire add").text
    kernel.run("%worker topology w python")
    assert "| now 3" in kernel.run("%fire add").text
    kernel.run(COUNTS.replace("--keep-state", "--keep-state --restart"), "c1")
    assert "| now 1" in kernel.run("%fire add").text
