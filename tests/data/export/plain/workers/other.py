# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker other, exported from a notebook by dnworker."""

import asyncio

from dreadnode.capabilities.worker import RuntimeClient, Worker

other = Worker(name="other")


@other.task
async def wait(client: RuntimeClient) -> None:
    await asyncio.sleep(60)


if __name__ == "__main__":
    other.run()
