"""`dnworker reload`: of one node, of all, and what an older version takes."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from dnworker import Runtime
from dnworker.cli.main import main
from dnworker.core.clock import RealClock
from dnworker.testing import SharedBroker, SharedStore

from ..capabilities import make_capability, make_named


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


@pytest.fixture
async def run(tmp_path, capsys):
    """Run the command at the first of two nodes, of which the second has a newer version."""
    store = SharedStore(RealClock())
    async with AsyncExitStack() as stack:
        nodes = []
        for name, version in (("a", "0.1.0"), ("b", "0.2.0")):
            node = Runtime(port=0, token="t" * 40, broker=SharedBroker(store), node=name)
            nodes.append(await stack.enter_async_context(node))
            await node.load(make_named(tmp_path / name / "demo", "demo", version=version))
        token = tmp_path / "token"
        token.write_text("t" * 40)

        async def command(*words):
            address = ["--url", nodes[0].url, "--token-file", str(token)]
            code = await asyncio.to_thread(main, ["reload", *words, *address])
            return code, capsys.readouterr()

        command.root = tmp_path
        yield command


async def test_one_node_is_reloaded_or_all_of_them_a_line_each(run):
    code, said = await run("demo")
    assert (code, said.out) == (0, "demo: reloaded, version 0.1.0\n")
    code, said = await run("--all-nodes")
    assert (code, said.out) == (0, "a: reloaded\nb: reloaded\n")


@pytest.mark.parametrize("wanted", [["demo"], []])
async def test_a_manifest_that_is_refused_is_said_and_is_the_exit_code(run, wanted):
    (run.root / "a" / "demo" / "capability.yaml").write_text("schema: 9\n")
    code, said = await run(*wanted)
    assert (code, said.out.startswith("demo could not be loaded: ")) == (1, True)
    assert "capability.yaml:1:9: schema is 9" in said.out
    code, said = await run(*wanted, "--json")
    answer = json.loads(said.out)
    assert (code, answer["ok"], len(answer["problems"])) == (1, False, 1)


async def test_a_worker_that_does_not_start_is_said_and_is_the_exit_code(tmp_path, capsys):
    token = tmp_path / "token"
    async with Runtime(port=0, token_file=token) as runtime:
        await runtime.load(make_named(tmp_path / "demo", "demo"))
        next((tmp_path / "demo").rglob("*.py")).unlink()
        words = ["reload", "demo", "--url", runtime.url, "--token-file", str(token)]
        assert await asyncio.to_thread(main, words) == 1
    assert capsys.readouterr().out.startswith("demo:echo does not run: ")


FALTERING = """
import pathlib, sys
from dnworker import Worker
worker = Worker(name="echo")

@worker.on_event("demo.ping")
async def ping(event, client): ...

@worker.on_startup
async def start(client):
    if pathlib.Path(__file__).with_name("broken").exists():
        raise OSError("no disk")

if __name__ == "__main__":
    worker.run()
"""


async def test_a_process_that_fails_a_moment_after_its_start_is_waited_for(tmp_path, capsys):
    token = tmp_path / "token"
    async with Runtime(port=0, token_file=token) as runtime:
        workers = "echo: {command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']}"
        root = make_capability(tmp_path / "demo", workers, {"echo.py": FALTERING})
        await runtime.load(root)
        words = ["reload", "demo", "--url", runtime.url, "--token-file", str(token)]
        assert await asyncio.to_thread(main, words) == 0
        assert capsys.readouterr().out == "demo: reloaded, version 0.1.0\n"
        assert runtime.worker("echo").connected.is_set()
        (root / "broken").touch()
        assert await asyncio.to_thread(main, words) == 1
        assert capsys.readouterr().out.startswith("demo:echo does not run: ")
        assert await asyncio.to_thread(main, [*words, "--no-wait"]) == 0


async def test_a_reload_of_all_says_every_version(tmp_path, capsys):
    token = tmp_path / "token"
    async with Runtime(port=0, token_file=token) as runtime:
        for name, version in (("demo", "0.1.0"), ("shop", "0.2.0")):
            await runtime.load(make_named(tmp_path / name, name, version=version))
        assert (
            await asyncio.to_thread(main, ["reload", "--url", runtime.url, "--token-file", str(token)]) == 0
        )
    assert capsys.readouterr().out == "all capabilities: reloaded: demo 0.1.0, shop 0.2.0\n"


async def test_no_wait_of_all_nodes_is_refused(run):
    code, said = await run("--all-nodes", "--no-wait")
    assert (code, said.out) == (1, "")
    assert "--no-wait: with --all-nodes" in said.err


async def test_a_node_that_fails_is_said_and_is_the_exit_code(run):
    (run.root / "b" / "demo" / "capability.yaml").write_text("schema: 1\n")
    code, said = await run("demo", "--all-nodes", "--json")
    answer = json.loads(said.out)
    assert (code, answer["ok"]) == (1, False)
    assert [(one["node"], one["error"] is None) for one in answer["nodes"]] == [("a", True), ("b", False)]
    code, said = await run("demo", "--all-nodes")
    assert said.out.splitlines()[1].startswith("b: ")


async def test_an_older_version_is_taken_by_its_name_alone(run):
    code, said = await run("demo", "--make-target")
    assert code == 0
    assert "demo: all nodes are to run version 0.1.0 (" in said.out
    code, said = await run("--make-target")
    assert (code, said.out) == (1, "")
    assert "name the capability, such as `dnworker reload shop --make-target`" in said.err


@pytest.mark.parametrize("name", ["dmeo", "demo:bridge"])
@pytest.mark.parametrize("more", [[], ["--all-nodes"]])
async def test_a_name_that_no_capability_has_is_answered_with_the_nearest(run, name, more):
    code, said = await run(name, *more)
    assert code == 1
    assert said.out == ""
    assert "did you mean demo?" in said.err
