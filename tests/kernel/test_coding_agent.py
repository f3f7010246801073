"""A coding agent, by the library's own client, works in a real kernel through tools of MCP alone, in both ways."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

FAULTY = """%%worker bill
@worker.on_event("bill.asked")
async def price(event, client):
    await client.publish("bill.priced", {"total": event.payload["count"] * event.payload["price"]})
"""
MENDED = FAULTY.replace('event.payload["price"]', 'event.payload.get("price", 0)')


@asynccontextmanager
async def agent(line):
    """Connect as an agent would: by the URL and the file of the token that the magic has shown."""
    url = re.search(r"http://127\.0\.0\.1:\d+/mcp", line)[0]
    token = Path(re.search(r"token is in (\S+?),", line)[1]).read_text().strip()
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


@asynccontextmanager
async def agent_over_stdio(*options):
    """Start `dnworker mcp` as a coding agent does; it finds the notebook by the list of those that run."""
    command = ["-m", "dnworker", "mcp", *options]
    program = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))
    with Path("mcp.err").open("w+") as errors:
        async with Client(stdio_client(program, errlog=errors)) as client:
            yield client
    assert Path("mcp.err").read_text() == ""


def own_processes():
    """Return the processes that this one has started, and that go on."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


async def call(client, tool, /, **arguments):
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content[0].text
    return answer.structured_content


def shown(kernel, line):
    return re.sub(r"\x1b\[[0-9;]*m", "", kernel.run(line).text)


async def mend(connected):
    """Go from a failing handler to a green test, each step by what the answer before says."""
    async with connected as client:
        listed = await call(client, "list_workers")
        assert listed["is_notebook"]
        event = re.fullmatch(r"get_trace\(event='(\w+)'\)", listed["next"])[1]
        trace = await call(client, "get_trace", event=event)
        assert trace["outcome"] == "not ok"
        assert any("KeyError: 'price'" in row for row in trace["untrusted"]["tree"])
        source = (await call(client, "get_worker", name="bill"))["untrusted"]["sources"][0]["source"]
        mended = source.replace('event.payload["price"]', 'event.payload.get("price", 0)')
        checked = await call(client, "write_worker", source=mended, dry_run=True)
        assert checked["ok"], checked
        wrong = await call(client, "write_worker", source=mended.replace("async def", "async deff"))
        assert not wrong["ok"]
        assert wrong["untrusted"]["problems"]
        written = await call(client, "write_worker", source=mended)
        assert (written["ok"], written["generation"]) == (True, 2)
        again = await call(client, "replay_event", event=event)
        assert again["outcome"] == "ok"
        test = await call(client, "make_test", event=again["event"])
        ran = await call(client, "run_test", source=test["untrusted"]["source"])
        assert ran["passed"], ran
        assert "ok" in await call(client, "check_export")
        return written["change"]


def test_an_agent_goes_from_a_failing_handler_to_a_green_test_and_its_change_can_be_undone(kernel):
    kernel.run(FAULTY)
    kernel.run("%fire bill.asked count=3")
    change = asyncio.run(mend(agent(shown(kernel, "%runtime mcp --allow-write"))))
    assert "generation 2" in kernel.run("%worker bill").text
    kernel.run(f"%runtime mcp --undo {change}")
    assert "KeyError" in kernel.run("%fire bill.asked count=3").text


def test_an_agent_over_standard_streams_does_the_same_and_its_process_ends_with_it(kernel):
    kernel.run(FAULTY)
    kernel.run("%fire bill.asked count=3")
    kernel.run("%runtime mcp --allow-write")
    before = own_processes()
    change = asyncio.run(mend(agent_over_stdio("--allow-write")))
    assert own_processes() == before
    assert "generation 2" in kernel.run("%worker bill").text
    assert kernel.run("%fire bill.asked count=3").text.count("KeyError") == 0
    kernel.run(f"%runtime mcp --undo {change}")
    assert "KeyError" in kernel.run("%fire bill.asked count=3").text


@pytest.mark.parametrize(
    ("line", "options", "remedy"),
    [("%worker", ["--allow-write"], "%runtime mcp --allow-write"), ("%runtime mcp --allow-write", [], "")],
)
def test_an_agent_over_standard_streams_writes_only_where_both_sides_allow_it(kernel, line, options, remedy):
    kernel.run(FAULTY)
    kernel.run(line)

    async def write():
        async with agent_over_stdio(*options) as client:
            if "write_worker" not in {tool.name for tool in (await client.list_tools()).tools}:
                return ""
            answer = await client.call_tool("write_worker", {"source": MENDED})
            return answer.content[0].text if answer.is_error else "it was written"

    assert remedy in (said := asyncio.run(write()))
    assert said != "it was written"
    assert "generation 2" not in kernel.run("%worker bill").text


def test_an_agent_writes_nothing_unless_the_notebook_allows_it(kernel):
    kernel.run(FAULTY)

    async def write(line):
        async with agent(line) as client:
            answer = await client.call_tool("write_worker", {"source": MENDED})
            return answer.is_error, answer.content[0].text

    is_refused, text = asyncio.run(write(shown(kernel, "%runtime mcp")))
    assert is_refused
    assert "%runtime mcp --allow-write" in text


def test_the_process_ends_with_the_kernels_word(kernel):
    line = shown(kernel, "%runtime mcp")
    token = Path(re.search(r"token is in (\S+?),", line)[1])
    assert token.exists()
    kernel.run("%runtime mcp --stop")
    assert not token.exists()
