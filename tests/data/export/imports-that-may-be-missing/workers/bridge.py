# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
#     "msgspec>=*",
#     "pyyaml>=*",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")


try:
    import nobody_has_this_one as fast
except ImportError:
    import json as fast


try:
    import msgspec
except ImportError:
    msgspec = None


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    import yaml

    print(fast.dumps({}), msgspec, yaml)


if __name__ == "__main__":
    worker.run()
