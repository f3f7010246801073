# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")


# The second say counts.
def say():
    """Say it."""
    return "second"  # really


LIMIT = 2  # seconds


@worker.on_event("b")
async def on_b(event: EventEnvelope, client: RuntimeClient) -> None:
    print(say(), LIMIT)


# This one too.
@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    print("new")


if __name__ == "__main__":
    worker.run()
