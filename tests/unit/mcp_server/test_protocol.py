"""`dnworker mcp` as any client sees it: progress, unknown tools, an input that ends, and what starts without its library."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest

from dnworker import Worker

from .test_tools import TOKEN, connected, runtime_with_worker


async def test_a_long_call_reports_how_far_it_is(monkeypatch):
    monkeypatch.setattr("dnworker.mcp_server.tools.PROGRESS_SECONDS", 0.02)
    heard, seen = asyncio.Event(), []

    async def note(progress, total, message):
        seen.append((progress, total, message))
        if len(seen) == 2:
            heard.set()

    async with connected() as (client, runtime):
        slow = Worker("slow")

        @slow.on_event("slow")
        async def wait(event, client):
            await heard.wait()

        await runtime.add(slow)
        async with asyncio.timeout(30):
            answer = await client.call_tool("fire_event", {"kind": "slow"}, progress_callback=note)
        assert answer.structured_content["outcome"] == "ok"
    assert [one[0] for one in seen] == sorted(one[0] for one in seen)
    assert {one[1:] for one in seen} == {(30.0, "the handlers run")}


async def test_an_unknown_tool_is_one_line():
    async with connected() as (client, _):
        try:
            answer = await client.call_tool("no_such_tool", {})
            said = answer.content[0].text
            assert answer.is_error
        except Exception as exc:
            said = str(exc)
        assert "no_such_tool" in said
        assert "\n" not in said


async def test_an_argument_that_is_missing_names_it():
    async with connected() as (client, _):
        answer = await client.call_tool("get_worker", {})
        assert answer.is_error
        assert "name" in answer.content[0].text
        assert "Traceback" not in answer.content[0].text


async def test_an_input_that_ends_during_a_call_ends_the_process():
    async with runtime_with_worker() as runtime:
        began, worker = asyncio.Event(), Worker("slow")

        @worker.on_event("slow")
        async def wait(event, client):
            began.set()
            await asyncio.Event().wait()

        await runtime.add(worker)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dnworker", "mcp", "--url", runtime.url,
            env={**os.environ, "DREADNODE_RUNTIME_TOKEN": TOKEN},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        client = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        for message in (
            {"id": 1, "method": "initialize", "params": client},
            {"method": "notifications/initialized"},
            {
                "id": 2,
                "method": "tools/call",
                "params": {"name": "fire_event", "arguments": {"kind": "slow"}},
            },
        ):
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        await asyncio.wait_for(began.wait(), 40)
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 30) == 0


@pytest.mark.parametrize(
    "words", [["mcp", "--help"], ["mcp", "--skill"], ["ps", "--help"], ["serve", "--help"]]
)
def test_what_needs_no_library_of_mcp_does_not_import_it(words):
    program = (
        "import sys\nfrom dnworker.cli.main import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('mcp', 'pydantic') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_ps_does_not_import_the_library_of_mcp_either(tmp_path):
    program = (
        "import sys\nfrom dnworker.cli.main import main\nmain(['ps'])\n"
        "print('mcp' in sys.modules, file=sys.stderr)"
    )
    environ = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.splitlines()[-1] == "False"
