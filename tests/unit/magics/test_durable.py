"""`%runtime durable`: what it takes for a file, what it says, and what a refusal leaves as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from dnworker import Runtime, Worker
from dnworker.core.errors import BrokerError, UsageError
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.loop_watch import LoopWatch
from dnworker_jupyter.kernel.startup import RuntimeStartup
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.runtime import RuntimeOptions, run_runtime


class Notebook:
    """A runtime with a journal and a worker, as a notebook has it."""

    def __init__(self, directory: Path) -> None:
        self.journal = directory / "journal.db"
        self.file = directory / "events.db"
        self.runtime = Runtime(port=None, journal=self.journal)
        loop = KernelLoop(SimpleNamespace(kernel=object()))
        self.startup = RuntimeStartup(self.runtime, loop, LoopWatch(self.runtime))
        self.stops = 0

    async def open(self) -> None:
        """Start the runtime with its worker, and count from now on how often it stops."""
        await self.startup.ready()
        await self.runtime.add(Worker("bridge"))
        stop = self.runtime.stop

        async def counted(**options: Any) -> bool:
            self.stops += 1
            return await stop(**options)

        cast(Any, self.runtime).stop = counted

    async def durable(self, mode: object = None) -> str:
        """Run the magic, and return its note."""
        context = SimpleNamespace(
            runtime=self.runtime,
            startup=self.startup,
            transactions=self.startup,
            mcp=SimpleNamespace(stop=AsyncMock(return_value=False)),
        )
        mode = None if mode is None else str(mode)
        return str(await run_runtime(cast(MagicContext, context), RuntimeOptions("durable", mode)))

    def is_in_memory_and_runs(self) -> bool:
        """Return whether events are in memory, and the worker runs."""
        runtime = self.runtime
        return runtime.bus.broker.name == "memory" and str(runtime.worker("bridge").state) == "running"


@pytest.fixture
async def notebook(tmp_path):
    notebook = Notebook(tmp_path)
    await notebook.open()
    yield notebook
    await notebook.startup.stop()


@pytest.mark.parametrize("mode", [None, "on"])
async def test_the_file_is_the_journal_unless_another_is_named(notebook, mode):
    said = await notebook.durable(mode)
    assert f"events are kept in {notebook.journal} until workers have handled them" in said
    assert f"they get when `%runtime durable {notebook.journal}` runs again" in said
    assert notebook.runtime.bus.broker.path == notebook.journal


@pytest.mark.parametrize("word", ["ON", "true", "OFF", "hold", "warn", "events"])
async def test_a_bare_word_is_no_file(notebook, word):
    with pytest.raises(UsageError, match=f"on, off or a file is wanted; a file of this name is ./{word}"):
        await notebook.durable(word)
    assert notebook.stops == 0


async def test_a_file_stays_the_same_when_the_directory_changes(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    await notebook.durable("./events")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    await notebook.runtime.client().publish("demo.go", {})
    assert [entry.name for entry in (tmp_path / "below").iterdir()] == []


async def test_what_is_so_already_stops_nothing(notebook):
    assert await notebook.durable("off") == "nothing changes: events are kept in memory already"
    assert notebook.stops == 0
    await notebook.durable(notebook.file)
    assert notebook.stops == 1
    said = await notebook.durable(notebook.file.parent / "." / notebook.file.name)
    assert said == f"nothing changes: events are kept in {notebook.file} already"
    assert notebook.stops == 1


async def test_a_file_that_cannot_be_used_is_refused_before_anything_stops(notebook, tmp_path):
    with pytest.raises(BrokerError, match="is a directory"):
        await notebook.durable(tmp_path)
    assert notebook.stops == 0
    assert notebook.is_in_memory_and_runs()


async def test_whatever_fails_at_the_start_is_taken_back(notebook, monkeypatch):
    restore, fails = notebook.runtime.turns.restore, [RuntimeError("not today")]

    async def fail_once():
        if fails:
            raise fails.pop()
        await restore()

    monkeypatch.setattr(notebook.runtime.turns, "restore", fail_once)
    with pytest.raises(RuntimeError, match="not today"):
        await notebook.durable(notebook.file)
    assert notebook.is_in_memory_and_runs()
    broker = SqliteBroker(notebook.file)
    await broker.open("another")
    await broker.close()


async def test_the_journal_is_the_notebooks_again_afterwards(notebook):
    await notebook.durable(notebook.file)
    assert notebook.runtime.journal.path == notebook.file
    assert "kept in memory again" in await notebook.durable("off")
    assert notebook.runtime.journal.path == notebook.journal
    assert notebook.is_in_memory_and_runs()


async def test_it_says_what_stays_in_a_file_and_has_them_again_with_it(notebook):
    await notebook.durable(notebook.file)
    notebook.runtime.sessions.create("s1")
    left = f"; left in {notebook.file} until `%runtime durable {notebook.file}` runs again: "
    assert (await notebook.durable("off")).endswith(f"{left}1 session")
    notebook.runtime.sessions.create("s2")
    await notebook.durable(notebook.file)
    assert {one.session_id for one in notebook.runtime.sessions.list()} == {"s1", "s2"}
    said = await notebook.durable(notebook.journal)
    assert said.endswith(f"{left}2 sessions")


async def test_a_file_that_cannot_be_used_any_more_can_be_left(notebook):
    await notebook.durable(notebook.file)
    await notebook.runtime.stop()
    notebook.startup.note_stopped(["notebook:bridge"])
    other = SqliteBroker(notebook.file)
    await other.open("another")
    with pytest.raises(BrokerError, match="in use"):
        await notebook.durable(notebook.file)
    assert "kept in memory again" in await notebook.durable("off")
    assert notebook.is_in_memory_and_runs()
    await other.close()


async def test_a_stopped_durable_runtime_starts_again(notebook):
    await notebook.durable(notebook.file)
    await notebook.runtime.stop()
    notebook.startup.note_stopped(["notebook:bridge"])
    assert "nothing changes" in await notebook.durable(notebook.file)
    assert str(notebook.runtime.worker("bridge").state) == "running"
