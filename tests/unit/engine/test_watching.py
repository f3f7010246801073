"""Changes on disk, and what they reload."""

from __future__ import annotations

import asyncio
import shutil

from watchfiles import Change

from dnworker import Runtime
from dnworker.engine.watching import Wanted, affected, held_open, watch
from dnworker_jupyter.export.disk.atomic import put_in_place

from ..capabilities import ECHO, make_capability, make_named


async def test_a_changed_file_reloads_its_capability(tmp_path):
    one, two = make_named(tmp_path / "one", "one"), make_named(tmp_path / "two", "two", "other")
    async with Runtime(port=None) as runtime:
        for root in (one, two):
            await runtime.load(root)
        reloaded = runtime.bus.subscribe(["capabilities.reloaded"])
        stop = asyncio.Event()
        watching = asyncio.create_task(watch(runtime, stop))
        writing = asyncio.create_task(keep_touching(one / "echo.py"))
        async with asyncio.timeout(200):
            event = await anext(reloaded)
        writing.cancel()
        stop.set()
        await watching
    assert event.payload["capability"] == "one"


async def test_what_a_worker_writes_beside_itself_is_no_change(tmp_path):
    files = {"echo.py": ECHO, "relay.mjs": "", "agents/a.md": ""}
    root = make_capability(
        tmp_path / "one", "echo: {path: echo.py}\nr: {command: no-such, args: [relay.mjs]}", files
    )
    async with Runtime(port=0) as runtime:
        await runtime.load(root)
        wanted = Wanted(runtime)
        seen = [
            n
            for n in ("echo.py", "relay.mjs", "agents/a.md", "capability.yaml", "state.json", "x.log")
            if wanted(Change.modified, str(root / n))
        ]
    assert seen == ["echo.py", "relay.mjs", "agents/a.md", "capability.yaml"]


async def test_a_change_outside_every_capability_affects_the_set(tmp_path):
    async with Runtime(port=None, capability_dirs=[tmp_path]) as runtime:
        await runtime.load(make_named(tmp_path / "one", "one"))
        paths = [tmp_path / "one" / "deep" / "x.py", tmp_path / "new" / "capability.yaml"]
        assert affected(runtime, paths) == {"one", None}


async def test_a_directory_that_is_put_in_the_place_of_another_is_watched_on(tmp_path):
    root = make_named(tmp_path / "one", "one")
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        reloaded = runtime.bus.subscribe(["capabilities.reloaded"])
        stop = asyncio.Event()
        watching = asyncio.create_task(watch(runtime, stop))
        for number in range(2):  # as an export does; the second is seen only if the first was followed
            exchanging = asyncio.create_task(keep_exchanging(tmp_path, root, number))
            async with asyncio.timeout(200):
                await anext(reloaded)
            exchanging.cancel()
        stop.set()
        await watching


async def keep_touching(file):
    """Change a file until somebody notices: when a watcher is ready, nobody tells."""
    for number in range(1000):
        file.write_text(ECHO + f"# {number}\n")
        await asyncio.sleep(0.5)


def test_no_new_directory_is_taken_for_one_that_is_watched(tmp_path):
    watched = tmp_path / "watched"
    watched.mkdir()
    number = watched.stat().st_ino
    with held_open([watched]):
        watched.rmdir()
        for again in range(20):
            new = tmp_path / f"new-{again}"
            new.mkdir()
            assert new.stat().st_ino != number


async def keep_exchanging(place, root, number):
    """Put a changed copy in the place of a directory until somebody notices."""
    for again in range(1000):
        fresh = place / f"fresh-{number}-{again}"
        shutil.copytree(root, fresh)
        (fresh / "echo.py").write_text(ECHO + f"# {number} {again}\n")
        old = put_in_place(fresh, root)
        assert old is not None
        shutil.rmtree(old)
        await asyncio.sleep(1)
