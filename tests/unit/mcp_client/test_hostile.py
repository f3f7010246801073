"""Servers that crash, hang, flood and lie: the runtime answers meanwhile, and nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from msgspec import structs

from dnworker.mcp_client import connection
from dnworker.mcp_client.tools import MCPServerError, MCPToolError

from .servers import children, is_alive, stdio, write

pytestmark = pytest.mark.timeout(90)


def hostile(mode: str, *args: str, **fields: object) -> dict[str, object]:
    return stdio("hostile.py", mode, *args, **fields)


def memory(pid: int) -> int:
    """Return the bytes that a process has had in memory at most."""
    line = next(s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


async def call(runtime, server: str) -> str:
    return await runtime.tools.get(f"demo__{server}__do").call({})


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


class Heart:
    """Beats on the loop, and knows the longest time between two beats."""

    async def __aenter__(self):
        self.longest = 0.0
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *exc_info):
        self._task.cancel()

    async def _beat(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            self.longest = max(self.longest, time.monotonic() - before)


async def test_a_server_that_does_not_start_is_an_error_with_the_end_of_its_log(connected):
    servers = {
        "crash": hostile("crash-at-start", env={"API_TOKEN": "very-secret"}),
        "hang": hostile("hang-in-initialize", init_timeout=0.5),
        "pages": hostile("endless-pages"),
        "huge": hostile("huge-list"),
        "wants": hostile("wants-sign-in"),
        "endless": hostile("endless-line", init_timeout=1),
    }
    async with Heart() as heart, connected(**servers) as runtime:
        found = {name: runtime.mcp.detail("demo", name) for name in servers}
        assert runtime.catalog.tools() == []
        assert {name: one["status"] for name, one in found.items()} == {
            "crash": "error", "hang": "error", "pages": "error", "huge": "error", "wants": "needs_auth",
            "endless": "error",
        }  # fmt: skip
        assert found["crash"]["error"] == (
            "it exited with code 7 before it had answered\n\nServer stderr:\nthe secret is ***"
        )
        log = Path(found["crash"]["log_path"]).read_text()
        assert "the secret is ***" in log
        assert "very-secret" not in log
        assert found["hang"]["error"] == "it did not answer `initialize` within 0.5 s"
        assert found["pages"]["error"].startswith("its list of tools has more than 100 pages")
        assert "bytes; at most 1,048,576" in found["huge"]["error"]
        assert all(one.pid is None for one in runtime.mcp.all())
    assert heart.longest < 10


async def test_answers_that_are_too_long_and_floods_are_texts_for_the_model(connected):
    servers = {
        "huge": hostile("huge-answer"),
        "last": hostile("huge-answer-id-last"),
        "flood": hostile("flood"),
        "noise": hostile("stderr-flood"),
        "garbage": hostile("garbage"),
        "requests": hostile("requests"),
        "bad": hostile("bad-result"),
        "names": hostile("odd-names"),
        "paged": hostile("pages"),
    }
    async with connected(**servers) as runtime:
        statuses = {name: runtime.mcp.detail("demo", name)["status"] for name in servers}
        assert set(statuses.values()) == {"connected"}, statuses
        assert [t.wire_name for t in runtime.catalog.tools() if t.server == "paged"] == [
            "demo__paged__t0", "demo__paged__t1", "demo__paged__t2",
        ]  # fmt: skip
        assert "tools are not offered" in runtime.mcp.detail("demo", "names")["detail"]
        async with Heart() as heart:
            for name in ("huge", "last"):
                with pytest.raises(
                    MCPToolError, match=r"the answer has 10,485,\d{3} bytes; at most 1,048,576"
                ):
                    await call(runtime, name)
            assert await call(runtime, "flood") == "done"
            assert await call(runtime, "noise") == "done"
            assert await call(runtime, "garbage") == "done"
            assert await call(runtime, "requests") == "done"
            with pytest.raises(MCPToolError):
                await call(runtime, "bad")
        assert heart.longest < 10
        flood = next(one for one in runtime.mcp.all() if one.server.name == "flood")
        await until(lambda: any("log messages" in line for line in flood.shown().recent_stderr))
        lines = {one.server.name: list(one.shown().recent_stderr) for one in runtime.mcp.all()}
        assert any("no message of MCP: Starting up 0..." in line for line in lines["garbage"])
        assert all(len(line) <= 2100 for line in lines["noise"])
        for one in runtime.mcp.all():  # the library takes 60 MB, and no answer may take much more
            assert memory(one.pid) < 250_000_000


async def test_a_server_that_ends_in_a_call_fails_it_and_is_connected_again(connected, tmp_path):
    flag = tmp_path / "crashed"
    servers = {"once": hostile("crash-once", str(flag)), "deaf": hostile("closes-output")}
    async with connected(**servers) as runtime:
        with pytest.raises(
            MCPServerError, match="demo:once: it exited with code 3 while the call ran; whether"
        ):
            await call(runtime, "once")
        with pytest.raises(
            MCPServerError, match="demo:deaf: it closed its output and goes on while the call ran"
        ):
            await call(runtime, "deaf")
        assert await call(runtime, "once") == "done"  # it waits for the server, which comes again
        assert runtime.mcp.detail("demo", "once")["status"] == "connected"


async def test_a_server_that_ends_again_and_again_is_given_up(connected):
    async with connected(crash=hostile("crash-in-call")) as runtime:
        (managed,) = runtime.mcp.all()
        for _ in range(3):
            await managed.wait()
            with pytest.raises(MCPServerError):
                await call(runtime, "crash")
        await managed.wait()
        assert runtime.mcp.detail("demo", "crash")["status"] == "error"
        assert (
            "it exited with code 3\n\nServer stderr:\nTraceback"
            in runtime.mcp.detail("demo", "crash")["error"]
        )
        assert runtime.catalog.tools() == []
        assert (await runtime.mcp.reconnect("demo", "crash"))["status"] == "connected"


async def test_a_host_that_is_killed_takes_the_server_with_it_and_both_come_again(connected):
    async with connected(one=hostile("good")) as runtime:
        (managed,) = runtime.mcp.all()
        first = [managed.pid, *children(managed.pid)]
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        await until(lambda: not any(map(is_alive, first)))
        await until(lambda: managed.pid not in (None, first[0]))
        await managed.wait()
        assert await call(runtime, "one") == "done"


async def test_a_call_that_hangs_ends_in_its_time_and_the_server_goes_on(connected, monkeypatch):
    async with connected(hang=hostile("hang-in-call")) as runtime:
        (managed,) = runtime.mcp.all()
        monkeypatch.setattr(connection, "MOST_CALLS", 2)
        waiting = [asyncio.create_task(call(runtime, "hang")) for _ in range(2)]
        await until(lambda: len(managed._connection._calls) == 2)
        with pytest.raises(MCPServerError, match="it has 2 calls to answer already"):
            await call(runtime, "hang")
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        structs.force_setattr(managed._connection._settings, "call_seconds", 0.2)
        with pytest.raises(
            MCPServerError, match=r"was not answered within 0.2 s; whether it was done is not known"
        ):
            await call(runtime, "hang")


async def test_tools_that_change_are_listed_again(connected):
    async with connected(other=hostile("other-tools")) as runtime:
        assert await call(runtime, "other") == "done"
        await until(lambda: len(runtime.catalog.tools()) == 2)


async def test_a_turn_of_a_model_ends_with_a_text_whatever_the_server_does(connected):
    async with connected(crash=hostile("crash-in-call")) as runtime:

        async def reply(turn):
            try:
                return await turn.call_tool("demo__crash__do")
            except MCPServerError as exc:
                return f"no: {exc}"

        runtime.agents.register("a", reply)
        end = await runtime.client().run_turn(session_id="s", agent="a", message="?")
    assert end["response_text"].startswith("no: MCP server demo:crash: it exited with code 3 while")


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_nothing_is_left_of_a_server_and_its_grandchild(tmp_path, end):
    file = tmp_path / "pids"
    root = write(tmp_path / "demo", {"grand": hostile("grandchild", str(file))})
    code = f"""
import asyncio
from dnworker import Runtime
async def main():
    async with Runtime(port=None) as runtime:
        await runtime.load({str(root)!r})
        await runtime.mcp.all()[0].wait()
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, input)
asyncio.run(main())
"""
    runtime = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert (await runtime.stdout.readline()).strip() == b"ready"
    pids = [*children(runtime.pid), *map(int, file.read_text().split())]
    assert len(set(pids)) >= 3
    if end == "kill":
        runtime.kill()
    else:
        runtime.stdin.write(b"\n")
    await runtime.wait()
    await until(lambda: not any(map(is_alive, pids)))
