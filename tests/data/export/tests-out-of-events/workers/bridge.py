# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")


@worker.on_event("demo.asked")
async def on_asked(event: EventEnvelope, client: RuntimeClient) -> None:
    await client.publish("demo.answered", {"n": event.payload["n"]})


if __name__ == "__main__":
    worker.run()
