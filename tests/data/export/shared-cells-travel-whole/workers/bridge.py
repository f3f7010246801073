# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

import collections
# All of this travels, used or not.
import queue

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")

WAITING = queue.Queue(maxsize=10)
SEEN = collections.Counter()


for number in range(3):
    SEEN[number] += 1


worker.state["limit"] = 5


def unused():
    return 1


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    WAITING.put_nowait(event.kind)


if __name__ == "__main__":
    worker.run()
