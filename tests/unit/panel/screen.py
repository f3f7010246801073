"""A view of the panel as the front end has one, for tests of what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from dnworker import Runtime

GATED = """
schema: 1
name: gated
version: 0.1.0
description: a gate
flags:
  beta:
    description: the new way
    default: false
checks:
  - {name: fine, command: "true"}
  - {name: broken, command: "echo lost >&2; exit 3"}
workers:
  w: {path: w.py, when: [beta]}
"""


class Screen:
    """A view as the front end has one: says things, and keeps what it is sent."""

    def __init__(self, runtime: Runtime, name: str = "v") -> None:
        self.name = name
        self.messages: list[dict[str, Any]] = []
        self.channel = runtime.feed.connect(self._take)
        self._news = asyncio.Event()
        self._asked = 0

    def _take(self, message: dict[str, Any]) -> None:
        if message["view"] == self.name:
            self.messages.append(msgspec.json.decode(msgspec.json.encode(message)))
            self._news.set()

    def say(self, type_: str, **fields: Any) -> None:
        self.channel.receive({"type": type_, "view": self.name, **fields})

    async def until(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Return the first message that is wanted, and forget those before it."""
        async with asyncio.timeout(60):
            while True:
                while self.messages:
                    if wanted(message := self.messages.pop(0)):
                        return message
                self._news.clear()
                await self._news.wait()

    async def part(self, name: str, wanted: Callable[[Any], Any] = lambda part: True) -> Any:
        """Return a part of an update that is wanted."""
        return (await self.until(lambda m: name in m and wanted(m[name])))[name]

    async def open(self, *parts: str, **fields: Any) -> dict[str, Any]:
        self.say("hello", parts=list(parts), **fields)
        return await self.until(lambda m: m["type"] == "snapshot")

    async def ask(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Ask for something and return its answer, `done` or `failed`."""
        self._asked += 1
        number = self._asked
        self.say(type_, id=number, **fields)
        return await self.until(lambda m: m.get("id") == number and m["type"] in ("done", "failed"))
