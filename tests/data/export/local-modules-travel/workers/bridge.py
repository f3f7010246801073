# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
#     "msgspec>=*",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

if __package__:  # loaded by a runtime, in-process
    from . import own_helpers
else:
    import own_helpers

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    print(own_helpers.encoded(1))


if __name__ == "__main__":
    worker.run()
