"""Servers that the SDK of the protocol has as examples: tools of every kind of answer, pages, notifications."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from dnworker.mcp_client.tools import MCPToolError
from dnworker.testing import Calls, ModelServer, Says

from ...ports import free_port

pytestmark = pytest.mark.timeout(90)

EXAMPLES = Path(__file__).parents[2] / "data" / "mcp_examples"


def example(name: str) -> dict[str, object]:
    return {"command": sys.executable, "args": [str(EXAMPLES / f"{name}.py")]}


WEATHER = {
    "command": sys.executable,
    "args": ["-c", "from weather_structured import mcp; mcp.run()"],
    "cwd": str(EXAMPLES),
    "env": {"PYTHONPATH": str(EXAMPLES), "PYTHONDONTWRITEBYTECODE": "1"},
}


async def call(runtime, tool: str, **arguments: object) -> str:
    return await runtime.tools.get(f"demo__{tool}").call(arguments)


async def test_structured_answers_reach_a_model_and_wrong_arguments_are_errors_that_it_reads(connected):
    plan = [
        Calls("demo__weather__get_weather_stats", {"city": "Oslo", "days": 3}),
        Calls("demo__weather__get_weather_stats", {"city": "Oslo", "days": "many"}),
        Says("it rains"),
    ]
    async with ModelServer(plan) as model, connected(weather=WEATHER) as runtime:
        assert {tool.name for tool in runtime.catalog.tools()} == {
            "get_weather", "get_weather_summary", "get_weather_metrics", "get_weather_alerts", "get_temperature",
            "get_weather_stats",
        }  # fmt: skip
        assert json.loads(await call(runtime, "weather__get_weather_summary", city="Oslo")) == {
            "city": "Oslo", "temp_c": 22.5, "description": "Partly cloudy with light breeze",
        }  # fmt: skip
        assert await call(runtime, "weather__get_temperature", city="Oslo", unit="fahrenheit") == "72.5"
        metrics = json.loads(await call(runtime, "weather__get_weather_metrics", cities=["a", "b"]))
        assert metrics["b"]["temperature"] == 22.0
        assert "Heat Wave" in await call(runtime, "weather__get_weather_alerts", region="California")
        runtime.agents.register_model("clerk", "x-1", base_url=model.base_url, api_key="sk-very-secret")
        end = await runtime.client().run_turn(session_id="s", agent="clerk", message="how is it in Oslo?")
    assert end["response_text"] == "it rains"
    results = [m["content"] for m in model.requests[-1]["messages"] if m["role"] == "tool"]
    assert json.loads(results[0])["temperature"] == {"high": 28.5, "low": 15.2, "mean": 21.8}
    assert "days" in results[1]
    assert "MCPToolError" in results[1]


async def test_tools_of_five_pages_are_all_there_and_texts_of_every_script_come_as_they_are(connected):
    servers = {"pages": example("simple_pagination"), "unicode": example("unicode_example")}
    async with connected(**servers) as runtime:
        paged = [tool.name for tool in runtime.catalog.tools() if tool.server == "pages"]
        assert paged == [f"tool_{number}" for number in range(1, 26)]
        assert await call(runtime, "pages__tool_25", input="x") == (
            "Called tool 'tool_25' with arguments: {'input': 'x'}"
        )
        assert await call(runtime, "unicode__hello_unicode") == "¡Hola, 世界! 👋"
        assert "Arabic: !مرحبا" in await call(runtime, "unicode__multilingual_hello")
        described = {tool.name: tool.description for tool in runtime.catalog.tools()}
        assert described["hello_unicode"].startswith("🌟 A tool that uses")


@asynccontextmanager
async def stateless(port: int, *options: str):
    """Run the example without sessions at a port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "simple_streamablehttp_stateless.py"), "--port", str(port), *options,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("options", [(), ("--json-response",)])
async def test_a_server_without_sessions_streams_notifications_before_its_answer(connected, options):
    port = free_port()
    async with (
        stateless(port, *options),
        connected(notes={"url": f"http://127.0.0.1:{port}/mcp"}) as runtime,
    ):
        tool = "notes__start-notification-stream"
        for _ in range(2):
            said = await call(runtime, tool, interval=0, count=3, caller="me")
            assert said == "Sent 3 notifications with 0s interval for caller: me"
        with pytest.raises(MCPToolError):
            await call(runtime, tool, interval=0, count="many", caller="me")
        assert await call(runtime, tool, interval=0, count=1, caller="me")
