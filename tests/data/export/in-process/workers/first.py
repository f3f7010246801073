# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
#     "msgspec>=*",
# ]
# ///
"""Worker first, exported from a notebook by dnworker."""

import json

if __package__:  # loaded by a runtime, in-process
    from .own_helpers import encoded
else:
    from own_helpers import encoded

if __package__:  # loaded by a runtime, in-process
    from . import own_helpers as own
else:
    import own_helpers as own

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

if __package__:  # loaded by a runtime, in-process
    from .demo_shared import twice
else:
    from demo_shared import twice

worker = Worker(name="first")


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    print(encoded(twice(1)), own, json)


if __name__ == "__main__":
    worker.run()
