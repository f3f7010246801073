# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker dreadnode, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="dreadnode")


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    pass


if __name__ == "__main__":
    worker.run()
