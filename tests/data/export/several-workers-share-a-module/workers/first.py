# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker first, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

if __package__:  # loaded by a runtime, in-process
    from .demo_shared import kind, stamp
else:
    from demo_shared import kind, stamp

worker = Worker(name="first")


def only_of_a():
    return kind("a")


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    await client.publish(kind("seen"), {"at": stamp(), "by": only_of_a()})


if __name__ == "__main__":
    worker.run()
