"""Attacks by the disk, and by the processes of workers: what they print, leave behind and outlive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.attack.attack import Scale, attack
from tests.attack.served import Served, make_capability, serving

PRINTER = """
import os, sys
chunk = {chunk}
left = int(sys.argv[1])
while left > 0:
    left -= os.write(1, chunk)
os.write(1, b"\\nthe end\\n")
import signal
signal.pause()
"""


@asynccontextmanager
async def measured(served: Served) -> AsyncIterator[list[float]]:
    """Ask the API all the time while the block runs; gives the seconds that each answer took."""
    took: list[float] = []

    async def ask() -> None:
        while True:
            began = time.monotonic()
            await served.get("/api/health")
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    try:
        yield took
    finally:
        asking.cancel()
        await asyncio.wait({asking})


async def _print(scale: Scale, chunk: str, size: int) -> str:
    root = make_capability(
        scale.directory / "cap",
        f"talker: {{command: python3, args: ['${{CAPABILITY_ROOT}}/talker.py', '{size}']}}",
        {"talker.py": PRINTER.format(chunk=chunk)},
    )
    async with serving(scale.directory, root) as served:
        began = time.monotonic()
        async with measured(served) as took:
            while "the end" not in (await served.detail("demo:talker"))["process"]["recent_output"]:
                await asyncio.sleep(0.1)
        seconds, slowest = time.monotonic() - began, max(took)
        peak = served.peak_mib()
        assert served.peak_mib() < 250, f"{served.peak_mib():.0f} MiB resident"
        assert slowest < 1, f"an answer took {slowest:.2f} s"
    return f"{size / 1e6:.0f} MB in {seconds:.1f} s, {peak:.0f} MiB, slowest answer {slowest * 1000:.0f} ms"


@attack(limit=300)
async def lines_without_end(scale: Scale) -> str:
    """A child that prints 1 GB of lines does not fill the memory, and the API answers meanwhile."""
    return await _print(scale, "(b'x' * 99 + b'\\n') * 600", scale.of(1_000_000_000, 20_000_000))


@attack(limit=300)
async def one_line_without_end(scale: Scale) -> str:
    """A child that prints 1 GB without a newline does not fill the memory, and the API answers meanwhile."""
    return await _print(scale, "b'x' * 65536", scale.of(1_000_000_000, 100_000_000))


@attack(limit=300)
async def short_lines_without_end(scale: Scale) -> str:
    """A child that prints lines of one character at full speed leaves the API its time."""
    return await _print(scale, "b'x\\n' * 32768", scale.of(50_000_000, 2_000_000))
