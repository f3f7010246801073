"""What becomes of an accepted event by what keeps it: the cells of the table in docs/contributing/promises.md."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from dnworker import Runtime, Worker
from dnworker.events.brokers.sqlite.broker import SqliteBroker


def bridge(version: str, seen: list[tuple[str, int]], held: asyncio.Event | None = None) -> Worker:
    """Return a version of a worker, which notes what it handles; with `held` it never ends with it."""
    worker = Worker("bridge")

    @worker.on_event("demo.go")
    async def on_go(event, client):
        seen.append((version, event.payload["n"]))
        if held is not None:
            held.set()
            await asyncio.Event().wait()

    return worker


def image(file: Path, directory: Path) -> Path:
    """Return the file as it is on disk now: what a killed runtime leaves."""
    directory.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{file}{end}", directory)
    return directory / file.name


async def test_the_file_syncs_every_commit_to_the_disk(tmp_path):
    async with Runtime(port=None, broker=SqliteBroker(tmp_path / "events.db")) as runtime:
        await runtime.client().publish("demo.go", {"n": 1})

        def ask(connection):
            return [
                connection.execute(f"PRAGMA {name}").fetchone() for name in ("synchronous", "journal_mode")
            ]

        assert await runtime.bus.broker.do(ask) == [(2,), ("wal",)]  # 2 is FULL


async def test_what_waits_at_an_upgrade_is_handled_by_the_new_code(tmp_path):
    file, seen, held = tmp_path / "events.db", [], asyncio.Event()
    async with Runtime(port=None, broker=SqliteBroker(file)) as runtime:
        await runtime.add(bridge("old", seen, held))
        for n in range(3):
            await runtime.client().publish("demo.go", {"n": n})
        await held.wait()
        file = image(file, tmp_path / "upgraded")
    del seen[:]
    async with Runtime(port=None, broker=SqliteBroker(file)) as runtime:
        await runtime.add(bridge("new", seen))
        while len(seen) < 3:
            await asyncio.sleep(0.01)
    assert seen == [("new", 0), ("new", 1), ("new", 2)]


async def test_what_memory_has_ends_with_the_runtime():
    seen, held = [], asyncio.Event()
    async with Runtime(port=None) as runtime:
        await runtime.add(bridge("old", seen, held))
        for n in range(3):
            await runtime.client().publish("demo.go", {"n": n})
        await held.wait()
    del seen[:]
    async with Runtime(port=None) as runtime:
        await runtime.add(bridge("new", seen))
        await runtime.fire("demo.go", {"n": 3})
    assert seen == [("new", 3)]


@pytest.mark.parametrize("is_durable", [False, True])
async def test_an_error_of_a_handler_is_an_end_for_memory_and_file(tmp_path, is_durable):
    seen, worker = [], Worker("bridge")

    @worker.on_event("demo.go")
    async def on_go(event, client):
        seen.append(event.payload["n"])
        raise ValueError

    broker = SqliteBroker(tmp_path / "events.db") if is_durable else None
    async with Runtime(port=None, broker=broker) as runtime:
        added = await runtime.add(worker)
        await runtime.fire("demo.go", {"n": 1})
        assert await added.restart(force=True)
        await runtime.fire("demo.go", {"n": 2})
    assert seen == [1, 2]


@pytest.mark.parametrize("is_durable", [False, True])
async def test_what_a_worker_that_is_killed_has_begun_is_lost_in_memory_and_repeated_from_a_file(
    tmp_path, is_durable
):
    seen, held = [], asyncio.Event()
    broker = SqliteBroker(tmp_path / "events.db") if is_durable else None
    async with Runtime(port=None, broker=broker) as runtime:
        added = await runtime.add(bridge("old", seen, held))
        await runtime.client().publish("demo.go", {"n": 1})
        await held.wait()
        held.clear()
        assert await added.restart(force=True)
        await runtime.client().publish("demo.go", {"n": 2})
        await held.wait()
        if is_durable:
            while len(seen) < 3:
                await asyncio.sleep(0.01)
        assert [n for _, n in seen] == ([1, 1, 2] if is_durable else [1, 2])
