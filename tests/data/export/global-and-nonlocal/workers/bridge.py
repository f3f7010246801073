# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")

COUNT = 0
TOTALS = {}


def add(n):
    global COUNT
    COUNT += n
    TOTALS["n"] = COUNT


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    seen = 0

    def inner():
        nonlocal seen
        seen += 1
        add(seen)

    inner()


if __name__ == "__main__":
    worker.run()
