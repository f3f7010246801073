# /// script
# requires-python = "*"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker bridge, exported from a notebook by dnworker."""

from __future__ import annotations

from typing import TYPE_CHECKING
import sys

from dreadnode.capabilities.worker import Worker

worker = Worker(name="bridge")


if TYPE_CHECKING:
    from decimal import Decimal


try:
    import tomllib
except ImportError:
    tomllib = None


if sys.version_info >= (3, 11):
    def modern(): return tomllib
else:
    def modern(): return None


COUNT: int = 0


@worker.every(minutes=1)
async def tick(client) -> Decimal | None:
    global COUNT
    COUNT += 1
    return modern()


if __name__ == "__main__":
    worker.run()
