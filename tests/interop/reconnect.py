"""Subscribes and prints the kind of every event that comes; run by either client."""

from __future__ import annotations

import asyncio
import importlib
import sys

PACKAGE, URL, TOKEN = sys.argv[1:]
module = importlib.import_module(
    {"dnworker": "dnworker", "dreadnode": "dreadnode.app.client.runtime_client"}[PACKAGE]
)


async def main():
    client = module.RuntimeClient(URL, auth_token=TOKEN)
    async for event in client.subscribe("interop.tick"):
        print(f"EVENT {event.kind} {event.seq}", flush=True)


asyncio.run(main())
