"""Attacks on the sessions of a durable runtime: it is killed at any moment, and what it has answered holds."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from dnworker.testing import ModelServer, Says
from tests.attack.attack import Scale, attack
from tests.attack.crashes import killer
from tests.attack.served import Served, make_capability, serving

WORKER = """
from dnworker import Worker
worker = Worker("w")

@worker.on_event("turn.completed")
async def done(event, client):
    pass
"""

GONE = (httpx.TransportError, WebSocketException, OSError)


@dataclass
class Known:
    """What one session was answered."""

    title: str | None = None
    turns: dict[str, str] = field(default_factory=dict)
    """Messages by the ids of accepted turns, in their order."""
    is_deleted: bool = False
    in_doubt: bool = False
    """Whether a request was not answered: it may have been done or not."""


class Driver:
    """Creates, names and deletes sessions, starts turns in them, and keeps what was answered."""

    def __init__(self, chance: random.Random) -> None:
        self.sessions: dict[str, Known] = {}
        self._chance = chance
        self._numbers = itertools.count()

    async def work(self, served: Served) -> None:
        """Work until the runtime is gone."""
        url = served.url.replace("http", "ws", 1) + "/api/ws"
        headers = {"Authorization": f"Bearer {served.token}"}
        known = Known()
        try:
            async with connect(url, additional_headers=headers, proxy=None) as socket:
                await self._ask(socket, "hello")
                while True:
                    known = Known(in_doubt=True)
                    await self._one_session(served, socket, known)
        except GONE:
            return

    async def _one_session(self, served: Served, socket: ClientConnection, known: Known) -> None:
        session_id = f"s{next(self._numbers)}"
        self.sessions[session_id] = known
        (await served.client.post("/api/sessions", json={"session_id": session_id})).raise_for_status()
        known.in_doubt = False
        for _ in range(self._chance.randint(1, 4)):
            known.in_doubt = True
            if self._chance.random() < 0.3:
                title = f"t{next(self._numbers)}"
                path = f"/api/sessions/{session_id}/title"
                (await served.client.post(path, json={"title": title})).raise_for_status()
                known.title = title
            else:
                message = f"m{next(self._numbers)}"
                answer = await self._ask(socket, "turn.start", session_id, {"message": message})
                assert answer["kind"] == "command.ack", answer
                known.turns[answer["payload"]["turn_id"]] = message
            known.in_doubt = False
        if self._chance.random() < 0.3:
            known.in_doubt = True
            (await served.client.delete(f"/api/sessions/{session_id}")).raise_for_status()
            known.in_doubt, known.is_deleted = False, True

    async def _ask(
        self, socket: ClientConnection, op: str, session_id: str | None = None, payload: object = None
    ) -> dict[str, Any]:
        command_id = f"c{next(self._numbers)}"
        frame = {"command_id": command_id, "op": op, "session_id": session_id, "payload": payload or {}}
        await socket.send(json.dumps(frame))
        while (answer := json.loads(await socket.recv())).get("command_id") != command_id:
            pass
        return dict(answer)

    async def check(self, served: Served, seed: int) -> None:
        """Check that what was answered is so."""
        there = {one["session_id"]: one for one in await served.get("/api/sessions")}
        for session_id, known in self.sessions.items():
            where = f"seed {seed}: session {session_id}"
            if known.in_doubt:
                continue
            assert (session_id in there) is not known.is_deleted, f"{where} is deleted or not, and should not"
            if known.is_deleted:
                path = f"/api/sessions/{session_id}/events"
                answer = await served.client.post(path, json={"kind": "a.b"})
                assert answer.status_code == 410, f"{where} answers {answer.status_code}"
            else:
                assert there[session_id]["title"] == known.title, f"{where} has another title"


@attack(limit=1_200)
async def killed_while_turns_run(scale: Scale) -> str:
    """Sessions, queues and messages of a durable runtime that is killed again and again are whole."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    file = scale.directory / "events.db"
    root = make_capability(scale.directory / "cap", "w: {path: w.py}", {"w.py": WORKER})
    driver, kills, began = Driver(chance), scale.of(60, 4), time.monotonic()

    def answer(body: dict[str, Any]) -> Says:
        return Says(f"re {body['messages'][-1]['content']}")

    async with ModelServer(answer) as model:
        environ = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "k", "DNWORKER_MODEL": "x-1"}
        for _ in range(kills):
            async with serving(scale.directory, root, "--durable", file, environ=environ) as served:
                await driver.check(served, seed)
                with killer(served.pid, chance.uniform(0.2, 2.0)):
                    async with asyncio.TaskGroup() as clients:
                        for _ in range(4):
                            clients.create_task(driver.work(served))
                await served.process.wait()
        async with serving(scale.directory, root, "--durable", file, environ=environ) as served:
            async with asyncio.timeout(60):
                while any(
                    s["is_busy"] for s in (await served.get("/api/sessions/status"))["sessions"].values()
                ):
                    await asyncio.sleep(0.05)
            await driver.check(served, seed)
            failed = await _check_messages(served, driver, file, seed)
            await served.stop(signal.SIGTERM)
    turns = sum(len(known.turns) for known in driver.sessions.values())
    return (
        f"{len(driver.sessions):,} sessions and {turns:,} accepted turns, {failed} of which a kill ended as "
        f"retryable; {kills} kills in {time.monotonic() - began:.0f} s"
    )


async def _check_messages(served: Served, driver: Driver, file: Path, seed: int) -> int:
    """Check that each accepted turn has one end, and that those of completed ones are the messages."""
    ends = _ends(file)
    failed = 0
    for session_id, known in driver.sessions.items():
        for turn_id in known.turns:
            assert len(ends[turn_id]) == 1, f"seed {seed}: {turn_id} of {session_id} has ends {ends[turn_id]}"
        failed += sum(ends[turn_id] == ["turn.failed"] for turn_id in known.turns)
        if known.is_deleted or known.in_doubt:
            continue
        expected = [
            text
            for turn_id, message in known.turns.items()
            if ends[turn_id] == ["turn.completed"]
            for text in (message, f"re {message}")
        ]
        said = [one["content"] for one in await served.get(f"/api/sessions/{session_id}/messages")]
        assert said == expected, f"seed {seed}: {session_id} has {said}, not {expected}"
    doubles = [turn_id for turn_id, kinds in ends.items() if len(kinds) > 1]
    assert not doubles, f"seed {seed}: turns with more than one end: {doubles[:5]}"
    return failed


class _Ends(dict[str, list[str]]):
    def __missing__(self, turn_id: str) -> list[str]:
        return []


def _ends(file: Path) -> _Ends:
    """Return the kinds of last events by turn, from the file."""
    found = _Ends()
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT envelope FROM events WHERE kind LIKE 'turn.%' ORDER BY id")
        for (text,) in rows:
            envelope = json.loads(text)
            if envelope["terminal"]:
                found.setdefault(envelope["turn_id"], []).append(envelope["kind"])
    finally:
        connection.close()
    return found
