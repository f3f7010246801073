"""Which of several running runtimes a command means that names none."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from dnworker import Runtime, Worker
from dnworker.cli import choosing
from dnworker.cli.main import main
from dnworker.client.client import RuntimeClient


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DREADNODE_RUNTIME_URL", raising=False)
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "t")
    return tmp_path


@pytest.fixture
def another():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


def listed_as(home, pid: int, url: str, **more) -> None:
    directory = home / ".dreadnode" / "dnworker"
    directory.mkdir(parents=True, exist_ok=True)
    entry = {"url": url, "pid": pid, "working_dir": "/here", **more}
    (directory / f"runtime-{pid}.json").write_text(json.dumps(entry))


def worker(name: str, kind: str) -> Worker:
    made = Worker(name)

    @made.on_event(kind)
    async def handle(event, client):
        """Handle an event."""

    return made


@pytest.fixture
async def both(home, another):
    """A served runtime with the worker `desk`, and a notebook's with `bench`; both have `shared`."""

    @asynccontextmanager
    async def run():
        async with Runtime(port=0, token="t") as served, Runtime(port=0, token="t") as notebook:
            for runtime, own, kind in ((served, "desk", "ask"), (notebook, "bench", "try")):
                await runtime.add(worker(own, kind))
                await runtime.add(worker("shared", "both"))
            listed_as(home, os.getpid(), served.url)
            listed_as(home, another, notebook.url, is_notebook=True, notebook="/n/a.ipynb")
            yield served, notebook

    async with run() as runtimes:
        yield runtimes


def heard(runtime: Runtime, kind: str) -> int:
    return sum(event.kind == kind for event in runtime.services.history.events())


async def call(*words: str) -> int:
    return await asyncio.to_thread(main, list(words))


async def test_an_event_goes_to_the_only_runtime_that_hears_its_kind_and_one_line_says_so(both, capsys):
    served, notebook = both
    assert await call("fire", "try", "n=1") == 0
    said = capsys.readouterr()
    assert said.err == (
        f"dnworker: {notebook.url} (notebook /n/a.ipynb) is meant: of 2 runtimes here, "
        "it alone has a handler of try\n"
    )
    assert said.out.startswith("event ")
    assert (heard(notebook, "try"), heard(served, "try")) == (1, 0)


@pytest.mark.parametrize(("kind", "why"), [("both", "2 of them have"), ("nobody", "none has")])
async def test_an_event_that_may_be_for_either_runtime_goes_to_none(both, capsys, kind, why):
    served, notebook = both
    assert await call("fire", kind) == 1
    said = capsys.readouterr().err
    assert f"{why} a handler of {kind}" in said
    assert f"--url {served.url} (in /here)" in said
    assert f"--url {notebook.url} (notebook /n/a.ipynb)" in said
    assert said.count("\n") == 1
    assert [heard(runtime, kind) for runtime in both] == [0, 0]


async def test_an_event_of_a_session_goes_where_the_session_is(both, capsys):
    async with RuntimeClient(both[0].url, auth_token="t") as client:
        await client.create_session(session_id="s1")
    assert await call("fire", "both", "--session", "s1") == 0
    assert f"{both[0].url} (in /here) is meant" in capsys.readouterr().err


async def test_a_worker_is_restarted_where_it_is(both, capsys):
    name = f"{both[0].capabilities.own.name}:desk"
    assert await call("restart", name, "--force", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["workers"][0]["restarted"]
    assert f"it alone has worker {name}" in said.err


async def test_workers_of_two_runtimes_are_restarted_in_none(both, capsys):
    own = both[0].capabilities.own.name
    assert await call("restart", f"{own}:desk", f"{own}:bench", "--force") == 1
    assert f"none has worker {own}:desk and {own}:bench" in capsys.readouterr().err


async def test_a_reload_of_all_capabilities_names_its_runtime(both, capsys):
    assert await call("reload") == 1
    said = capsys.readouterr().err
    assert "several runtimes run here; name the one that is meant: --url " in said
    assert all(f"--url {one.url} (" in said for one in both)


async def test_dropping_a_dead_letter_that_no_runtime_has_is_refused_by_its_name(both, capsys):
    assert await call("dead", "drop", "abc") == 1
    assert "dead letter abc" in capsys.readouterr().err
    assert await call("dead", "drop", "--all") == 1
    assert "several runtimes run here; name the one that is meant" in capsys.readouterr().err


async def test_a_runtime_that_does_not_answer_may_be_the_one_that_is_meant(both, home, capsys, monkeypatch):
    monkeypatch.setattr(choosing, "PATIENCE", 1.0)

    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        listed_as(home, os.getppid(), url)
        assert await call("fire", "ask") == 1
    assert f"and {url} does not say whether it has a handler of ask" in capsys.readouterr().err


async def test_a_command_that_names_its_runtime_asks_no_other(both, capsys):
    assert await call("fire", "both", "--url", both[1].url) == 0
    assert capsys.readouterr().err == ""
