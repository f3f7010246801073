"""What a real runtime publishes in turns that scripts answer: the examples of the pages of events and of turns.

Ids and times differ from run to run; here they are replaced, so that a page changes only when the runtime does.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest.mock import patch

import msgspec

from dnworker import EventEnvelope, Runtime, RuntimeClient, Turn, Worker
from dnworker.core.limits import Limits
from dnworker.testing import ModelServer, Refuses, Says

_ID = re.compile(r"\b(turn_|call_|req-)?[0-9a-f]{24,32}\b")
_UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_TIME = re.compile(r"\b20\d\d-\d\d-\d\dT[\d:.]+(\+00:00|Z)")
OF_MODELS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "DNWORKER_MODEL")


@dataclass
class Recording:
    """What was published, in order, and what `stream_chat` yielded, turn by turn."""

    events: list[EventEnvelope] = field(default_factory=list)
    turns: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def payload(self, kind: str) -> dict[str, Any] | None:
        """Return the first payload of a kind, made plain; None where there is none."""
        return next((plain(one.payload) for one in self.events if one.kind == kind), None)

    def raw(self, type_: str) -> dict[str, Any] | None:
        """Return the first raw event of a type, made plain; None where there is none."""
        all_ = (raw for turn in self.turns.values() for raw in turn)
        return next((plain(raw) for raw in all_ if raw["type"] == type_), None)


def plain(value: Any) -> Any:
    """Return JSON with ids, times and durations that do not change from run to run."""
    text = msgspec.json.encode(value).decode()
    text = _UUID.sub("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", text)
    text = _ID.sub(lambda found: f"{found[1] or ''}0f1e2d3c4b5a69788796a5b4", text)
    text = _PORT.sub("127.0.0.1:8000", text)
    text = _TIME.sub("2030-01-02T03:04:05.678901+00:00", text)
    return msgspec.json.decode(re.sub(r'"duration_ms":\d+', '"duration_ms":147', text))


@cache
def recording() -> Recording:
    """Return what happens in a run of the script below."""
    own = {name: value for name, value in os.environ.items() if name not in OF_MODELS}
    with patch.dict(os.environ, own, clear=True):  # else a model could answer for an agent that is not there
        return asyncio.run(record())


async def record() -> Recording:
    """Run every sort of turn that there is, and return what was published."""
    found = Recording()
    async with (
        ModelServer([Refuses(503, "busy", {"retry-after": "0"}), Says("Yes.")]) as model,
        Runtime(port=None) as runtime,
    ):
        _script_agents(runtime)
        runtime.agents.register_model("asked", "model-1", base_url=model.base_url)
        client = runtime.client()
        async with _Listening(runtime, found):
            await _converse(client, found)
            await runtime.reload()
            await runtime.add(_notifying())
            await runtime.fire("demo.greeting", {"name": "Ada"})
    async with Runtime(port=None, limits=Limits(sessions=1)) as small:
        small.agents.default(lambda turn: "hello")
        async with _Listening(small, found):
            for _ in range(2):
                await small.client().run_turn(session_id="demo", message="hello")
    return found


class _Listening:
    """Notes all events of a runtime meanwhile."""

    def __init__(self, runtime: Runtime, found: Recording) -> None:
        self._runtime, self._found = runtime, found

    async def __aenter__(self) -> None:
        self._subscription = self._runtime.bus.subscribe(max_bytes=None, limit=None)

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.sleep(0)
        while (event := self._subscription.take()) is not None:
            self._found.events.append(event)
        self._subscription.close()


def _script_agents(runtime: Runtime) -> None:
    async def triage(turn: Turn) -> AsyncIterator[str]:
        yield "Looking into it. "
        total = await turn.call_tool("add", {"a": 2, "b": 3}, result=5)
        colour = await turn.ask("Which colour?", ["red", "blue"])
        yield f"It is {total}, and {colour}."

    async def deploy(turn: Turn) -> str:
        await turn.call_tool("deploy", {"version": "1.2.0"}, result="done")
        return "Deployed."

    async def broken(turn: Turn) -> AsyncIterator[str]:
        yield "Looking. "
        raise ValueError("no such ticket")

    async def slow(turn: Turn) -> AsyncIterator[str]:
        yield "Looking. "
        await asyncio.Event().wait()

    for name, script in {"triage": triage, "deploy": deploy, "broken": broken, "slow": slow}.items():
        runtime.agents.register(name, script)


async def _converse(client: RuntimeClient, found: Recording) -> None:
    """Have one turn of each sort."""
    await client.create_session(session_id="demo")
    await client.create_session(session_id="guarded", policy="guard")
    await client.create_session(session_id="gone")
    await client.delete_session("gone")
    await _turn(client, found, "demo", "triage")
    await _turn(client, found, "guarded", "deploy")
    await _turn(client, found, "demo", "broken")
    await _turn(client, found, "demo", "nobody")
    await _turn(client, found, "demo", "asked")
    await _turn(client, found, "demo", "slow")


async def _turn(client: RuntimeClient, found: Recording, session_id: str, agent: str) -> None:
    """Have one turn, and answer what it asks."""
    raws = found.turns.setdefault(agent, [])
    async for raw in client.stream_chat(session_id=session_id, message="What is the sum?", agent=agent):
        raws.append(raw)
        request = raw.get("data", {}).get("request_id")
        if raw["type"] == "userinputrequired":
            answer = {"request_id": request, "action": "submit", "answers": [{"selected_labels": ["red"]}]}
            await client.send_human_input_response(session_id, answer)
        elif raw["type"] == "permissionrequired":
            await client.send_permission_response(session_id, request, "allow")
        elif agent == "slow" and raw["type"] == "generationcontent":
            await client.cancel_session(session_id)


def _notifying() -> Worker:
    worker = Worker(name="greeter")

    @worker.on_event("demo.greeting")
    async def on_greeting(event: EventEnvelope, client: RuntimeClient) -> None:
        await client.notify("A greeting", body=event.payload["name"])

    return worker
