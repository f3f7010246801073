"""Attacks on a durable runtime: it is killed at any moment, and every event that it accepted is handled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.attack.attack import Scale, attack
from tests.attack.served import Served, make_capability, serving

WORKER = """
import asyncio, os
from dnworker import Worker
worker = Worker("{name}")
file = os.open(os.environ["OUT"] + ".{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(word, event, *more):
    os.write(file, " ".join(map(str, (word, event.seq, event.payload["n"], *more))).encode() + b"\\n")

@worker.on_event("demo.item")
async def item(event, client):
    note("begin", event, int(event.replay))
    if event.payload["n"] % 5 == 0:
        await asyncio.sleep(0.003)
    answer = await client.publish("demo.echo.{name}", {{"n": event.payload["n"]}})
    os.write(file, f"accepted {{answer['seq']}} {{event.payload['n']}}\\n".encode())
    note("end", event)

@worker.on_event("demo.echo.{name}")
async def echo(event, client):
    note("echo", event)

if __name__ == "__main__":
    worker.run()
"""

NODE_LIKE = """
import asyncio, json, os
from websockets.asyncio.client import connect
file = os.open(os.environ["OUT"] + ".plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
url = os.environ["DREADNODE_RUNTIME_URL"].replace("http", "ws", 1)
headers = {"Authorization": "Bearer " + os.environ["DREADNODE_RUNTIME_TOKEN"]}

async def main():
    async with connect(f"{url}/api/ws/events?kinds=demo.item&ack=explicit", additional_headers=headers, proxy=None) as socket:
        async for frame in socket:
            event = json.loads(frame)
            if event["kind"] == "demo.item":
                n = event["payload"]["n"]
                os.write(file, f"begin {event['seq']} {n} {int(event['replay'])}\\nend {event['seq']} {n}\\n".encode())
                await socket.send(json.dumps({"ack": event["seq"]}))

asyncio.run(main())
"""

NAMES = ("near", "child", "plain")
"""A worker in the runtime's process, one of ours in its own, and one that knows the wire alone."""


@dataclass
class Log:
    """What one worker has written down of all its lives."""

    begun: list[tuple[int, int]] = field(default_factory=list)
    """`seq` and number, in the order of the handlers' beginnings."""
    ended: set[int] = field(default_factory=set)
    accepted: set[int] = field(default_factory=set)
    echoed: set[int] = field(default_factory=set)


def read_log(file: Path) -> Log:
    """Read it; a line that a kill has cut is left out."""
    log = Log()
    for line in file.read_text().splitlines() if file.exists() else ():
        match line.split():
            case ["begin", seq, n, _]:
                log.begun.append((int(seq), int(n)))
            case ["end", _, n]:
                log.ended.add(int(n))
            case ["accepted", _, n]:
                log.accepted.add(int(n))
            case ["echo", _, n]:
                log.echoed.add(int(n))
    return log


class Driver:
    """Publishes numbered events over HTTP, from several tasks, and knows which were accepted."""

    def __init__(self) -> None:
        self.accepted: dict[int, int] = {}
        """By number: the `seq`."""
        self._next = 0

    async def publish(self, served: Served) -> None:
        """Publish until the runtime is gone."""
        while True:
            n, self._next = self._next, self._next + 1
            try:
                answer = await served.client.post(
                    "/api/events", json={"kind": "demo.item", "payload": {"n": n}}
                )
            except httpx.TransportError:
                return
            assert answer.status_code == 200, answer.text
            self.accepted[n] = answer.json()["seq"]


@contextlib.contextmanager
def killer(pid: int, seconds: float) -> Iterator[None]:
    """Have another process kill the runtime after some time: this one's loop may be late."""
    code = f"import os, time; time.sleep({seconds}); os.kill({pid}, 9)"
    process = subprocess.Popen([sys.executable, "-S", "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def cursors_of(file: Path) -> dict[str, dict[str, Any]]:
    """Return what the file says of each worker, between two lives of the runtime."""
    command = [sys.executable, "-m", "dnworker", "cursors", "list", "--json", "--file", str(file)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return {one["worker"]: one for one in json.loads(shown.stdout)["cursors"]}


def handled_for_good(log: Log, cursor: dict[str, Any]) -> set[int]:
    """Return the numbers of the events that a worker need never see again, by the file."""
    left = set(cursor["outstanding"])
    return {n for seq, n in log.begun if seq <= cursor["handled_to"] and seq not in left}


@attack(limit=1_800)
async def killed_at_any_moment(scale: Scale) -> str:
    """A durable runtime that is killed again and again loses no accepted event, and repeats none it has noted."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    out, file = scale.directory / "out", scale.directory / "events.db"
    workers = (
        "near: {path: near.py}\n"
        f"child: {{command: '{sys.executable}', args: [child.py]}}\n"
        f"plain: {{command: '{sys.executable}', args: [plain.py]}}\n"
    )
    files = {
        "near.py": WORKER.format(name="near"),
        "child.py": WORKER.format(name="child"),
        "plain.py": NODE_LIKE,
    }
    root = make_capability(scale.directory / "cap", workers, files)
    driver, kills = Driver(), scale.of(500, 20)
    environ = {"OUT": str(out)}
    began = time.monotonic()
    done: dict[str, set[int]] = {name: set() for name in NAMES}
    for _ in range(kills):
        before = {name: len(read_log(Path(f"{out}.{name}")).begun) for name in NAMES}
        async with serving(scale.directory, root, "--durable", file, environ=environ) as served:
            with killer(served.pid, chance.uniform(0.02, 2.0)):
                async with asyncio.TaskGroup() as publishers:
                    for _ in range(4):
                        publishers.create_task(driver.publish(served))
            await served.process.wait()
        cursors = cursors_of(file)
        for name in NAMES:
            log = read_log(Path(f"{out}.{name}"))
            again = done[name] & {n for _, n in log.begun[before[name] :]}
            assert not again, (
                f"seed {seed}: {name} handled {sorted(again)[:5]} again, which the file had as handled"
            )
            if f"demo:{name}" in cursors:
                done[name] |= handled_for_good(log, cursors[f"demo:{name}"])
    await _finish(scale, root, file, environ)
    return _check(driver, out, seed) + f"; {kills} kills in {time.monotonic() - began:.0f} s"


async def _finish(scale: Scale, root: Path, file: Path, environ: dict[str, str]) -> None:
    """Let a last life of the runtime handle what is left."""
    async with serving(scale.directory, root, "--durable", file, environ=environ) as served:
        async with asyncio.timeout(120):
            while not _is_done((await served.get("/api/cursors"))["cursors"]):
                await asyncio.sleep(0.1)
        await served.stop(signal.SIGTERM, within=60)


def _is_done(cursors: list[dict[str, Any]]) -> bool:
    """Return whether each worker has said what it listens to, and has handled all of it."""
    there = [one for one in cursors if one["kinds"]]
    return len(there) == len(NAMES) and not any(one["pending"] or one["outstanding"] for one in there)


def _check(driver: Driver, out: Path, seed: int) -> str:
    repeated = 0
    for name in NAMES:
        log = read_log(Path(f"{out}.{name}"))
        missing = driver.accepted.keys() - log.ended
        assert not missing, (
            f"seed {seed}: {name} has not handled {sorted(missing)[:10]} ({len(missing)} in all)"
        )
        lost = log.accepted - log.echoed
        assert not lost, (
            f"seed {seed}: what {name} published is lost: {sorted(lost)[:10]} ({len(lost)} in all)"
        )
        first: dict[int, int] = {}
        for seq, n in log.begun:
            first.setdefault(n, seq)
        order = [seq for n, seq in first.items() if n in driver.accepted]
        assert order == sorted(order), f"seed {seed}: {name} got events out of order"
        repeated += len(log.begun) - len(first)
    return f"{len(driver.accepted):,} accepted events handled by {len(NAMES)} workers, {repeated} repeated"
