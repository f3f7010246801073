"""A worker of the real SDK that is killed in the middle handles every event, over a broker that redelivers."""

from __future__ import annotations

import pytest

from ..unit.workers.test_redelivery import check, survive
from .environment import LIMIT, reference_python

pytestmark = [pytest.mark.interop, pytest.mark.timeout(LIMIT)]

SINK = """
import asyncio
from dreadnode.capabilities.worker import Worker

worker = Worker(name="sink")

@worker.on_event("demo.item")
async def item(event, client):
    await asyncio.sleep(0)
    with open("handled", "a") as file:
        file.write(f"{event.payload['n']} {event.replay} 1\\n")

if __name__ == "__main__":
    worker.run()
"""


async def test_a_worker_of_the_sdk_that_is_killed_twice_handles_all(tmp_path):
    entry = f"sink: {{command: {reference_python()}, args: ['${{CAPABILITY_ROOT}}/sink.py']}}"
    check(await survive(tmp_path, entry, {"sink.py": SINK}))
