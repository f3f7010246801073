"""What a pull of 10,000 events into a notebook's journal costs, against bare copying by HTTP."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import httpx
from common import RUNS, TOKEN, median, report

from dnworker import Runtime
from dnworker.client.http import HttpConnection
from dnworker.client.pulling import Pull, PullQuery, masked_events
from dnworker.core.payload_masks import PayloadMasks
from dnworker.engine.copies import keep_copies
from dnworker.events.journal_copies import Copy

EVENTS = 10_000


async def copied(runtime: Runtime, file: Path) -> float:
    """Return the seconds that it takes to read all rows by HTTP and to write them to a file."""
    started, count = time.perf_counter(), 0
    query: dict[str, str] = {"limit": "1000"}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=runtime.url or "", headers=headers, trust_env=False) as http:
        with file.open("wb") as out:
            while True:
                answer = (await http.get("/api/history/envelopes", params=query)).raise_for_status()
                out.write(answer.content)
                page = answer.json()
                count += len(page["envelopes"])
                if page["next"] is None:
                    break
                query["cursor"] = page["next"]
    assert count == EVENTS, count
    return time.perf_counter() - started


async def pulled(runtime: Runtime, journal: Path, rules: str) -> tuple[float, float]:
    """Return the seconds of a pull into another runtime, and of a second one, which has nothing to add."""
    took = []
    async with Runtime(port=None, journal=journal) as notebook:
        for new in (EVENTS, 0):
            connection = HttpConnection(runtime.url, auth_token=TOKEN)
            started = time.perf_counter()
            pull, masks = Pull(connection, PullQuery(last=EVENTS)), PayloadMasks(rules, [TOKEN])
            copies = [Copy(one.event, one.is_caused) async for one in masked_events(pull, masks)]
            kept = await keep_copies(notebook, copies, runtime_id=pull.runtime_id, place=pull.url)
            took.append(time.perf_counter() - started)
            await connection.close()
            assert len(kept.events) == new, len(kept.events)
    return took[0], took[1]


async def measure(directory: Path) -> dict[str, float]:
    """Publish the events, and copy them in each way."""
    figures: dict[str, list[float]] = {}
    async with Runtime(port=0, token=TOKEN, journal=directory / "there.journal") as runtime:
        for n in range(EVENTS):
            runtime.publish("bench.event", {"n": n, "email": f"u{n % 100}@example.org", "text": "x" * 200})
            if n % 1_000 == 0:
                await asyncio.sleep(0)
        for number in range(RUNS):
            figures.setdefault("bare_s", []).append(await copied(runtime, directory / "bare.json"))
            for name, rules in (("pull", ""), ("masked", "email")):
                first, second = await pulled(runtime, directory / f"{name}{number}.journal", rules)
                figures.setdefault(f"{name}_s", []).append(first)
                figures.setdefault(f"{name}_again_s", []).append(second)
    return {name: median(took) for name, took in figures.items()}


def main() -> None:
    """Measure once: each figure is a median of its own."""
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(measure(Path(directory)))
    report(
        what=f"a pull of {EVENTS:,} events, against bare copying by HTTP",
        **figures,
        ratio=figures["pull_s"] / figures["bare_s"],
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
