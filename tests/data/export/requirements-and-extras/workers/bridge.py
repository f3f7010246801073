# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
#     "httpx[http2]>=*",
#     "packaging>=*",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

import os.path
import httpx
from packaging import version

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    print(os.path.sep, httpx.codes.OK, version.Version("1"))


if __name__ == "__main__":
    worker.run()
