"""Milliseconds to the first piece of an answer: a turn of a runtime, and pydantic-ai alone, asked in turn."""

from __future__ import annotations

import asyncio
import statistics
import time

import pydantic_ai.direct
from common import report
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from dnworker import Runtime
from dnworker.testing import ModelServer, Says

TURNS, WARM = 100, 5


async def of_library(model: OpenAIChatModel) -> float:
    """Return the seconds of pydantic-ai alone."""
    began, first = time.perf_counter(), 0.0
    async with pydantic_ai.direct.model_request_stream(
        model, [ModelRequest.user_text_prompt("x")], instrument=False
    ) as stream:
        async for _ in stream:
            first = first or time.perf_counter() - began
    return first


async def of_turn(runtime: Runtime, number: int) -> float:
    """Return the seconds of a turn in a session of its own."""
    began, first = time.perf_counter(), 0.0
    async for raw in runtime.client().stream_chat(session_id=f"s{number}", message="x"):
        if raw["type"] == "generationcontent":
            first = first or time.perf_counter() - began
    return first


async def measured() -> tuple[float, float]:
    """Return the medians of both, in milliseconds."""
    async with ModelServer([Says("a", "b")]) as server, Runtime(port=None) as runtime:
        runtime.agents.use_model("m", base_url=server.base_url, api_key="none")
        model = OpenAIChatModel("m", provider=OpenAIProvider(server.base_url, "none"))
        pairs = [(await of_library(model), await of_turn(runtime, n)) for n in range(TURNS + WARM)][WARM:]
    alone, turns = zip(*pairs, strict=True)
    return 1e3 * statistics.median(alone), 1e3 * statistics.median(turns)


def main() -> None:
    """Ask both in turn, in one process."""
    alone, turn = asyncio.run(measured())
    report(
        what="first piece of an answer, ms", library_ms=alone, turn_ms=turn, over_ms=turn - alone, turns=TURNS
    )


if __name__ == "__main__":
    main()
