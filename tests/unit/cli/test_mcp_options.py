"""`dnworker serve --mcp`: the process that speaks MCP beside the runtime, its token, and its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from dnworker import Runtime
from dnworker.cli.made_runtime import check_options
from dnworker.core.errors import UsageError
from dnworker.mcp_server import process as module
from dnworker.mcp_server.process import McpProcess, WayOut
from tests.unit.capabilities import make_capability
from tests.unit.cli.test_listen_options import parsed

WORKER = """
from dnworker import Worker

worker = Worker(name="echo")


@worker.on_event("ask")
async def on_ask(event, client):
    await client.publish("answered", {})


if __name__ == "__main__":
    worker.run()
"""

PROGRAM = """
import json, os, sys
print(json.dumps({"url": "http://127.0.0.1:1/mcp", "token_file": "t"}), flush=True)
sys.stdin.readline()
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(state) -> None:
    async with asyncio.timeout(30):
        while not state():
            await asyncio.sleep(0.02)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found if b"dnworker.mcp_server" in Path(f"/proc/{one}/cmdline").read_bytes()]


@asynccontextmanager
async def served(tmp_path, *options: str):
    root = make_capability(tmp_path / "demo", "echo: {path: echo.py}", {"echo.py": WORKER})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dnworker", "serve", str(root), "--port", "0", "--json", "--mcp", "0", *options),
        env={**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(40):
            line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def agent(where):
    token = Path(where["token_file"]).read_text().strip()
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(where["url"], http_client=http)) as client,
    ):
        yield client


async def test_agents_read_and_fire_also_where_workers_may_do_little(tmp_path):
    async with served(tmp_path, "--worker-scope", "worker") as (process, said):
        file = Path(said["mcp"]["token_file"])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert said["mcp"]["url"].startswith("http://127.0.0.1:")
        async with agent(said["mcp"]) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert "write_worker" not in tools  # a runtime of `serve` has nothing to be written
            listed = await client.call_tool("list_workers", {})
            assert "demo:echo: running" in listed.structured_content["workers"][0]
            fired = await client.call_tool("fire_event", {"kind": "ask"})
            assert fired.structured_content["outcome"] == "ok", fired
        (pid,) = children(process.pid)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
        assert not is_alive(pid)
        assert not file.exists()


async def test_it_ends_with_a_runtime_that_is_killed_and_the_next_start_removes_its_token(tmp_path):
    async with served(tmp_path) as (process, said):
        (pid,) = children(process.pid)
        process.kill()
        await process.wait()
        await until(lambda: not is_alive(pid))
    left = [*tmp_path.glob("dnworker-mcp-*")]
    assert left
    for directory in left:
        os.utime(directory / "lock", (0, 0))
    async with served(tmp_path) as (process, said):
        assert Path(said["mcp"]["token_file"]).exists()
        assert not any(directory.exists() for directory in left)


async def test_one_that_dies_is_started_again_at_its_address_with_its_token(tmp_path):
    file = tmp_path / "agents"
    async with served(tmp_path, "--mcp-token-file", str(file)) as (process, said):
        assert said["mcp"]["token_file"] == str(file)
        token = file.read_text()
        (pid,) = children(process.pid)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: children(process.pid) not in ([], [pid]))

        async def answers() -> bool:
            try:
                async with agent(said["mcp"]) as client:
                    return not (await client.call_tool("list_workers", {})).is_error
            except Exception:
                return False

        async with asyncio.timeout(40):
            while not await answers():
                await asyncio.sleep(0.1)
        assert file.read_text() == token


async def test_one_that_keeps_ending_is_given_up_with_one_line(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (0.0,) * 5)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("sys.stdin.readline()", "sys.exit(3)"))
    async with Runtime(port=0) as runtime:
        process = McpProcess(
            runtime,
            lambda: str(runtime.url),
            (str(program),),
            way_out=WayOut("restart it", ""),
            keeps_on=True,
        )
        await process.start()
        await until(lambda: "stays away; restart it" in caplog.text)
        assert sum("it is started again" in one.message for one in caplog.records) == 6
        assert process.pid is None
        await process.stop()


async def test_a_stop_while_it_is_started_again_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (0.0,) * 5)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    async with Runtime(port=0) as runtime:
        process = McpProcess(runtime, lambda: str(runtime.url), (str(program),), keeps_on=True)
        await process.start()
        os.kill(process.pid, signal.SIGKILL)
        await until(lambda: process._again is not None)
        await process.stop()
        await asyncio.sleep(0)
        assert process.pid is None
        assert process._again is None


async def test_a_port_that_is_in_use_is_one_line(tmp_path):
    async with served(tmp_path) as (_, said):
        port = said["mcp"]["url"].rpartition(":")[2].partition("/")[0]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dnworker", "serve", str(tmp_path / "demo"), "--port", "0", f"--mcp={port}"),
            env={**os.environ, "HOME": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, error = await asyncio.wait_for(process.communicate(), 40)
        assert process.returncode == 1
        assert f"port {port} of 127.0.0.1 cannot be used" in error.decode()
        assert "Traceback" not in error.decode()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mcp-host", "127.0.0.1"], "--mcp-host says how agents come in, and --mcp is missing"),
        (["--mcp-token-file", "f"], "--mcp-token-file says how agents come in, and --mcp is missing"),
    ],
)
def test_options_without_mcp_are_refused(words, said):
    with pytest.raises(UsageError, match=said):
        check_options(parsed(*words))


def test_a_token_file_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text("abc\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="is open to others"):
        check_options(parsed("--mcp", "--mcp-token-file", str(file)))


def test_a_directory_in_the_place_of_the_port_is_one_line(capsys):
    with pytest.raises(SystemExit):
        parsed("--mcp", "demo")
    assert "'demo' is no port; write --mcp after the capabilities, or --mcp=0" in capsys.readouterr().err
