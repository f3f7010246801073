# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker other, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

if __package__:  # loaded by a runtime, in-process
    from .demo_shared import TOTALS
else:
    from demo_shared import TOTALS

worker = Worker(name="other")

COUNT = 0


def add(n):
    global COUNT
    COUNT += n
    TOTALS["n"] = COUNT


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    add(1)
    print(TOTALS)


if __name__ == "__main__":
    worker.run()
