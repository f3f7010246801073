# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

import asyncio
import json as j
from collections import deque
import functools

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, TurnFailedError, Worker

worker = Worker(name="bridge")

GREETING = "hi"
PAIR = (GREETING, -1)


# A comment that belongs to the function below.
# It has two lines.
@functools.cache
def helper(x: int = len(GREETING)) -> str:
    """Doc."""
    return j.dumps([x, PAIR])  # inline


class Box(dict):
    name = GREETING


@worker.on_startup
async def start(client: RuntimeClient) -> None:
    worker.state["box"] = Box()


# The answer.
@worker.on_event("a")
@worker.on_event("b")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    items = [helper(n) for n in range(3)]
    async def later():
        nonlocal items
        await asyncio.sleep(0)
        items = deque(items)
    await later()
    try:
        await client.publish("c", {"items": list(items)})
    except TurnFailedError:
        raise


if __name__ == "__main__":
    worker.run()
