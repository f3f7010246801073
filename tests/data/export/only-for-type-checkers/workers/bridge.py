# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="bridge")


if TYPE_CHECKING:
    from decimal import Decimal


def price() -> Decimal: return 1


@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    print(price())


if __name__ == "__main__":
    worker.run()
