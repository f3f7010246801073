# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker second, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import RuntimeClient, Worker

if __package__:  # loaded by a runtime, in-process
    from .demo_shared import kind, stamp
else:
    from demo_shared import kind, stamp

worker = Worker(name="second")


@worker.every(minutes=1)
async def tick(client: RuntimeClient) -> None:
    await client.publish(kind("tick"), {"at": stamp()})


if __name__ == "__main__":
    worker.run()
