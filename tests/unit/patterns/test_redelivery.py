"""Over a broker that redelivers, what waits for a rule in a process that is killed comes again."""

from __future__ import annotations

import pytest

from ..workers.test_redelivery import check, survive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

BATCH = """
from dnworker import Worker
from dnworker.patterns import batch
worker = Worker(name="sink")

@worker.on_event("demo.item")
@batch(size=30, within=0.05)
async def items(events, client):
    with open("handled", "a") as file:
        file.write("".join(f"{e.payload['n']} {e.replay} {e.delivery}\\n" for e in events))

if __name__ == "__main__":
    worker.run()
"""


async def test_lists_of_a_process_that_is_killed_twice_have_every_event(tmp_path):
    entry = "sink: {command: PYTHON, args: ['${CAPABILITY_ROOT}/sink.py']}"
    lines = await survive(tmp_path, entry, {"sink.py": BATCH})
    check(lines)
    assert max(delivery for *_, delivery in lines) > 1
