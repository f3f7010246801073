"""`dnworker mcp` where several runtimes run: answers name them, and calls say which is meant."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from mcp import Client

from dnworker import Runtime, RuntimeClient, UsageError
from dnworker.mcp_server.server import make_server

from .test_tools import TOKEN, call, make_worker, refused


class Here:
    def __init__(self, *runtimes: Runtime) -> None:
        self.runtimes = list(runtimes)

    def known(self):
        return [
            {
                "url": one.url,
                "is_notebook": n == 1,
                "notebook": f"/n/{n}.ipynb" if n else None,
                "directory": f"/d{n}",
            }
            for n, one in enumerate(self.runtimes)
        ]

    def client(self, url):
        if url is None and len(self.runtimes) != 1:
            raise UsageError("no runtime runs here", code="DN903")
        return RuntimeClient(url or self.runtimes[0].url, auth_token=TOKEN)


@asynccontextmanager
async def two():
    async with Runtime(port=0, token=TOKEN) as first, Runtime(port=0, token=TOKEN) as second:
        await second.add(make_worker())
        here = Here(first, second)
        async with Client(make_server(here, name=None, may_write=False)) as client:
            yield client, here


async def test_an_answer_names_those_that_run_and_nothing_is_done():
    async with two() as (client, here):
        for tool, arguments in (
            ("list_workers", {}),
            ("fire_event", {"kind": "ask"}),
            ("get_trace", {"event": "last"}),
        ):
            answer = await call(client, tool, **arguments)
            assert [one["url"] for one in answer["runtimes"]] == [one.url for one in here.runtimes]
            assert answer["runtimes"][1]["notebook"] == "/n/1.ipynb"
            assert answer["next"].startswith(f"{tool} with runtime='{here.runtimes[0].url}'")
        assert [one.bus.latest_seq for one in here.runtimes] == [0, here.runtimes[1].bus.latest_seq]
        assert (await call(client, "search_docs", words="worker"))["next"]


@pytest.mark.parametrize("by", ["url", "notebook", "part"])
async def test_a_call_takes_the_runtime_that_it_names(by):
    async with two() as (client, here):
        named = {"url": here.runtimes[1].url, "notebook": "/n/1.ipynb", "part": "1.ipynb"}[by]
        answer = await call(client, "fire_event", kind="ask", runtime=named)
        assert (answer["outcome"], answer["runtime"]) == ("ok", here.runtimes[1].url)
        assert (await call(client, "list_workers", runtime=here.runtimes[0].url))["workers"] == []


async def test_a_runtime_that_is_not_there_is_one_line_with_those_that_are():
    async with two() as (client, here):
        said = await refused(client, "list_workers", runtime="http://127.0.0.1:9")
        assert said.endswith(
            f"runtime 'http://127.0.0.1:9': there is none; give one of: {', '.join(r.url for r in here.runtimes)}"
        )
        here.runtimes.clear()
        assert (await refused(client, "list_workers")).endswith("no runtime runs here (DN903)")


async def test_the_only_one_need_not_be_named():
    async with two() as (client, here):
        del here.runtimes[0]
        assert (await call(client, "list_workers"))["workers"]


async def test_each_tool_says_its_fields():
    async with two() as (client, _):
        for tool in (await client.list_tools()).tools:
            fields = tool.output_schema["properties"]
            assert {"next", "untrusted"} <= set(fields), tool.name
            assert ("runtime" in tool.input_schema["properties"]) == (tool.name != "search_docs")
        schemas = {tool.name: tool.output_schema["properties"] for tool in (await client.list_tools()).tools}
        assert schemas["fire_event"]["settled"]["type"] == "boolean"
        assert set(schemas["list_workers"]) >= {"workers", "cursor", "is_notebook"}
