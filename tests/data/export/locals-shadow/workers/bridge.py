# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient, helper=None) -> None:
    limit = 2
    for items in range(limit):
        print(items, helper)
    with_items = [limit for limit in range(3)]
    print(with_items)


if __name__ == "__main__":
    worker.run()
