# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker second, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

if __package__:  # loaded by a runtime, in-process
    from .demo_shared import twice
else:
    from demo_shared import twice

worker = Worker(name="second")


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    print(twice(2))


if __name__ == "__main__":
    worker.run()
