"""Attacks on a durable runtime by its disk: it is full, the runtime is killed on it, and there is room again."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.attack.attack import Scale, attack
from tests.attack.crashes import WORKER, read_log
from tests.attack.disk import no_mounts
from tests.attack.served import Served, make_capability, serving

ROOM = 2 << 20
"""Bytes of the disk that are free at first."""

PADDING = "x" * 20_000
"""Makes an event large, so that few of them fill the disk."""

PUBLISHING = 'answer = await client.publish("demo.echo.{name}", {{"n": event.payload["n"]}})'

PATIENT = WORKER.replace(
    PUBLISHING,
    f"""while True:
        try:
            {PUBLISHING}
            break
        except httpx.HTTPStatusError:  # the disk is full: without this the handler fails, and the log says so
            await asyncio.sleep(0.01)""",
).replace("import asyncio, os", "import asyncio, httpx, os")
"""A worker that tries again where the full disk refuses what it publishes."""


@contextlib.contextmanager
def small_disk(where: Path, size: int) -> Iterator[tuple[Path, str]]:
    """Mount a disk that outlives a runtime; yields where it is seen from here, and what runs `serve` on it."""
    where.mkdir()
    script = f'mount -t tmpfs -o size={size} none "$1" && echo mounted && exec sleep infinity'
    command = ["unshare", "-m", "bash", "-c", script, "bash", str(where)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"mounted\n"
            yield (
                Path(f"/proc/{holder.pid}/root{where}"),
                f'exec nsenter --mount=/proc/{holder.pid}/ns/mnt --wd="$PWD" -- "$@"',
            )
        finally:
            holder.kill()


async def publish_until_refused(served: Served, first: int) -> list[int]:
    """Publish events from a number on; returns those that were accepted before the disk was full."""
    accepted: list[int] = []
    while True:
        n = first + len(accepted)
        body = {"kind": "demo.item", "payload": {"n": n, "padding": PADDING}}
        answer = await served.client.post("/api/events", json=body)
        if answer.status_code != 200:
            assert answer.status_code == 507, answer.text
            assert "full" in answer.text, answer.text
            return accepted
        accepted.append(n)


async def until_there_is_room(served: Served, n: int) -> None:
    """Publish one event as soon as it is accepted."""
    body = {"kind": "demo.item", "payload": {"n": n}}
    async with asyncio.timeout(60):
        while (answer := await served.client.post("/api/events", json=body)).status_code == 507:
            await asyncio.sleep(0.05)
    assert answer.status_code == 200, answer.text


async def until_all_is_handled(served: Served) -> None:
    """Return when no event waits for a worker."""
    async with asyncio.timeout(60):
        while any(
            one["pending"] or one["outstanding"] for one in (await served.get("/api/cursors"))["cursors"]
        ):
            await asyncio.sleep(0.05)


async def start_on_it(scale: Scale, root: Path, *durable: str | Path, **options: Any) -> None:
    """Start on a full disk: either the runtime begins, or one line says why not, and the way out."""
    try:
        async with serving(scale.directory, root, *durable, **options):
            pass
    except AssertionError as exc:
        assert re.search("is full .*; make room, or name a file on another disk", str(exc)), exc


@attack(needs=no_mounts, limit=600)
async def killed_on_a_full_disk(scale: Scale) -> str:
    """A durable runtime refuses events on a full disk, is killed there, and loses none that it accepted."""
    out, where = scale.directory / "out", scale.directory / "disk"
    root = make_capability(
        scale.directory / "cap", "near: {path: near.py}", {"near.py": PATIENT.format(name="near")}
    )
    accepted: set[int] = set()
    rounds = scale.of(20, 3)
    with small_disk(where, rounds * ROOM * 2) as (inside, limits):
        durable = "--durable", where / "events.db"
        options: Any = {"environ": {"OUT": str(out)}, "limits": limits}
        for n in range(rounds):
            fill = inside / "fill"
            with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                free = shutil.disk_usage(inside).free - ROOM
                while file.tell() < free:
                    file.write(b"x" * min(65_536, free - file.tell()))
            async with serving(scale.directory, root, *durable, **options) as served:
                accepted.update(await publish_until_refused(served, len(accepted)))
                if n % 2:
                    fill.unlink()
                    await until_there_is_room(served, len(accepted))
                    accepted.add(len(accepted))
                await served.stop(signal.SIGKILL)
            if fill.exists():
                await start_on_it(scale, root, *durable, **options)
                fill.unlink()
            async with serving(scale.directory, root, *durable, **options) as served:
                await until_all_is_handled(served)
                await served.stop(signal.SIGKILL)
    log = read_log(Path(f"{out}.near"))
    missing = accepted - log.ended
    assert not missing, f"{sorted(missing)[:10]} were accepted and not handled ({len(missing)} in all)"
    return f"{len(accepted)} events were accepted around {rounds} full disks, and all are handled"
