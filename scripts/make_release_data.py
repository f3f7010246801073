"""Writes the files that a user of a release has, for the test that later versions open them.

    python scripts/make_release_data.py 0.1.0

Run it once, in a checkout of the tag, and commit tests/data/releases/VERSION: what is there is never
written anew, since it is what users have.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from dnworker.capability.flags import write_persisted
from dnworker.cli.main import main as command_line
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.runtime import Runtime
from dnworker_jupyter.importer.importer import first_notebook

RELEASES = Path(__file__).parent.parent / "tests" / "data" / "releases"

CAPABILITY = """\
schema: 1
name: counting
version: 0.1.0
description: Counts turns
flags:
  loud: {description: says more}
workers:
  counter: {path: counter.py}
"""

WORKER = """\
from dnworker import Worker

worker = Worker(name="counter")


@worker.on_event("demo.count")
async def count(event, client):
    worker.state["n"] = worker.state.get("n", 0) + event.payload["by"]
    print("now", worker.state["n"])
    async with client.once("first") as first:
        if first:
            await client.publish("demo.counted", {"n": worker.state["n"]})
"""


async def _journal(file: Path, capability: Path) -> None:
    """Leave the journal of a runtime in memory: three events with what became of them."""
    async with Runtime(port=None, journal=file) as runtime:
        await runtime.load(capability)
        for by in (1, 2, 3):
            await runtime.fire("demo.count", {"by": by})


async def _durable(file: Path, capability: Path) -> None:
    """Leave a durable file: a kept state, a session, a key that was used, and two events that wait."""
    kept = ["counting:counter"]
    async with Runtime(port=None, broker=SqliteBroker(file), keep_state=kept) as runtime:
        await runtime.load(capability)
        client = runtime.client()
        for by in (1, 2):
            await runtime.fire("demo.count", {"by": by})
        await client.create_session(session_id="kept", labels={"of": ["0.1.0"]})
        await runtime.worker("counting:counter").stop()
        for by in (3, 4):
            await client.publish("demo.count", {"by": by})


def _fold(file: Path) -> None:
    """Put the write-ahead log into the file, so that one file is all of it."""
    file.with_name(f"{file.name}-lock").unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")


def main(version: str) -> int:
    """Write the files of this version; refuses where they are."""
    home = RELEASES / version
    if home.exists():
        raise SystemExit(f"{home} is there: what a release wrote is never written anew")
    home.mkdir(parents=True)
    capability = home / "counting"
    capability.mkdir()
    (capability / "capability.yaml").write_text(CAPABILITY)
    (capability / "counter.py").write_text(WORKER)
    asyncio.run(_journal(home / "journal.sqlite", capability))
    asyncio.run(_durable(home / "durable.sqlite", capability))
    for name in ("journal.sqlite", "durable.sqlite"):
        _fold(home / name)
    write_persisted(home / "flags.json", "counting", "loud", True, version="0.1.0")
    with tempfile.TemporaryDirectory() as place:
        notebook = Path(place) / "first.ipynb"
        notebook.write_bytes(first_notebook().as_ipynb())
        return command_line(["export", str(notebook), "-o", str(home / "export")])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
