"""Changes on disk, and what they reload: each look is made by hand, on a clock of the test."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from dnworker import Runtime
from dnworker.engine.watched_files import Looks, files_read
from dnworker.engine.watching import Watcher, watch
from dnworker_jupyter.export.disk.atomic import put_in_place

from ..capabilities import ECHO, make_capability, make_named

CHANGED = ECHO + "# changed\n"


class Watching:
    """A watcher whose time passes only here, and what was reloaded."""

    def __init__(self, runtime, *, every_file=False):
        self.now = 100.0
        self.runtime = runtime
        self.watcher = Watcher(runtime, every_file=every_file, clock=lambda: self.now)
        self.reloads = []
        original = runtime.reload

        async def reload(capability=None):
            self.reloads.append(capability)
            return await original(capability)

        runtime.reload = reload

    async def look(self, times=1, seconds=3.0):
        """Look, and again after some seconds; returns what was reloaded by it."""
        before = len(self.reloads)
        for _ in range(times):
            await self.watcher.look()
            self.now += seconds
        return self.reloads[before:]


@pytest.fixture
async def one(tmp_path):
    """A capability `one` that is watched, and has been looked at."""
    root = make_named(tmp_path / "one", "one")
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        watching = Watching(runtime)
        watching.root = root
        await watching.look()
        watching.now += 100
        yield watching


async def test_a_changed_file_reloads_its_capability_alone(tmp_path):
    roots = [make_named(tmp_path / "one", "one"), make_named(tmp_path / "two", "two", "other")]
    async with Runtime(port=None) as runtime:
        for root in roots:
            await runtime.load(root)
        watching = Watching(runtime)
        assert await watching.look(3) == []
        (roots[0] / "echo.py").write_text(CHANGED)
        assert await watching.look(3) == ["one"]
        assert await watching.look(3) == []


async def test_a_change_waits_until_the_files_are_still(one):
    for number in range(3):
        (one.root / "echo.py").write_text(ECHO + f"# {number}\n")
        assert await one.look() == []
    assert await one.look() == ["one"]


@pytest.mark.parametrize(
    "save",
    [
        lambda file: file.write_text(CHANGED),
        lambda file: (file.with_name("x.tmp").write_text(CHANGED), file.with_name("x.tmp").replace(file)),
        lambda file: (file.unlink(), file.write_text(CHANGED)),
        lambda file: (file.rename(file.with_name("echo.py~")), file.write_text(CHANGED)),
    ],
    ids=["in place", "by rename", "delete and create", "with a backup"],
)
async def test_every_way_to_save_a_file_is_seen_once(one, save):
    save(one.root / "echo.py")
    assert await one.look(5) == ["one"]


async def test_a_file_that_was_written_as_it_was_reloads_nothing(one):
    (one.root / "echo.py").write_text((one.root / "echo.py").read_text())
    os.utime(one.root / "echo.py", (1, 1))
    assert await one.look(5) == []


async def test_what_a_worker_writes_beside_itself_is_no_change(one):
    for name in ("notes.md", "state.json", "x.log", "deep/gen.py", "README.md", ".hidden.py"):
        (one.root / name).parent.mkdir(exist_ok=True)
        (one.root / name).write_text("x")
    assert await one.look(5) == []


async def test_with_every_file_whatever_is_written_counts(tmp_path):
    root = make_named(tmp_path / "one", "one")
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        watching = Watching(runtime, every_file=True)
        await watching.look()
        (root / "notes.md").write_text("x")
        assert await watching.look(3) == ["one"]


async def test_with_every_file_a_database_in_use_counts_not_and_is_not_read(tmp_path):
    root = make_named(tmp_path / "one", "one")
    with closing(sqlite3.connect(root / "events.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE events (id)")
        async with Runtime(port=None) as runtime:
            files = files_read(await runtime.load(root), root, every_file=True)
    assert [file for file in files if "sqlite" in file.name] == []


async def test_what_is_read_to_load_a_capability_is_its_files(tmp_path):
    files = {
        "echo.py": ECHO,
        "helper.py": "",
        "lib/__init__.py": "",
        "lib/deep.py": "",
        "loose/x.py": "",
        "relay.mjs": "",
        "other.mjs": "",
        "bin/tool.py": "",
        "agents/a.md": "---\nname: a\n---\n",
        "skills/s/SKILL.md": "---\nname: s\ndescription: d\n---\n",
        "skills/s/more.md": "",
        "tools/t.py": "",
        "notes.md": "",
        ".mcp.json": "{}",
    }
    workers = "echo: {path: echo.py}\nr: {command: no-such, args: [relay.mjs]}\nm: {command: python, args: [-m, bin.tool]}"
    for name in files:
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
    root = make_capability(tmp_path / "one", workers, files)
    async with Runtime(port=0) as runtime:
        capability = await runtime.load(root)
        found = Looks().look(files_read(capability, root, every_file=False))
    assert sorted(str(file.relative_to(root)) for file in found) == sorted(
        [
            *("capability.yaml", "echo.py", "helper.py", "lib/__init__.py", "lib/deep.py", "relay.mjs"),
            *("bin/tool.py", "agents/a.md", "skills/s/SKILL.md", "tools/t.py", ".mcp.json"),
        ]
    )


async def test_a_module_that_was_imported_is_watched_wherever_it_lies(tmp_path):
    files = {"echo.py": "from .loose.deep import x\n" + ECHO, "loose/deep.py": "x = 1\n"}
    (tmp_path / "one" / "loose").mkdir(parents=True)
    root = make_capability(tmp_path / "one", "echo: {path: echo.py}", files)
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        watching = Watching(runtime)
        await watching.look()
        (root / "loose" / "deep.py").write_text("x = 2\n")
        assert await watching.look(3) == ["demo"]


async def test_a_directory_that_is_put_in_the_place_of_another_is_watched_on(one, tmp_path):
    for number in range(3):  # as an export does; the next is seen only if this one was followed
        fresh = tmp_path / f"fresh-{number}"
        shutil.copytree(one.root, fresh)
        (fresh / "echo.py").write_text(ECHO + f"# {number}\n")
        shutil.rmtree(put_in_place(fresh, one.root))
        one.now += 100
        assert await one.look(3) == ["one"]


async def test_a_link_that_leads_elsewhere_is_followed(tmp_path):
    releases = [make_named(tmp_path / "releases" / str(n), "one") for n in range(2)]
    (releases[1] / "echo.py").write_text(CHANGED)
    current = tmp_path / "current"
    current.symlink_to(releases[0])
    async with Runtime(port=None) as runtime:
        await runtime.load(current)
        watching = Watching(runtime)
        await watching.look()
        for release in (releases[1], releases[0]):
            (tmp_path / "next").symlink_to(release)
            (tmp_path / "next").replace(current)
            watching.now += 100
            assert await watching.look(3) == ["one"]
            (capability,) = (c for c in runtime.capabilities.all() if not c.live)
            assert capability.root == release
        (releases[0] / "echo.py").write_text(ECHO + "# again\n")
        watching.now += 100
        assert await watching.look(3) == ["one"]


async def test_a_link_that_leads_back_during_the_reload_is_followed_after_it(tmp_path):
    releases = [make_named(tmp_path / "releases" / str(n), "one") for n in range(2)]
    (releases[1] / "echo.py").write_text(CHANGED)
    current = tmp_path / "current"
    current.symlink_to(releases[0])
    async with Runtime(port=None) as runtime:
        await runtime.load(current)
        watching = Watching(runtime)
        await watching.look()
        original = runtime.reload

        async def reload(capability=None):
            info = await original(capability)
            runtime.reload = original
            current.unlink()
            current.symlink_to(releases[0])
            return info

        runtime.reload = reload
        current.unlink()
        current.symlink_to(releases[1])
        assert await watching.look(5) == ["one", "one"]
        assert runtime.capabilities.get("one").root == releases[0]


async def test_a_directory_that_was_deleted_is_seen_when_it_is_back(one):
    shutil.rmtree(one.root)
    assert await one.look(3) == ["one"]
    assert await one.look(3) == []
    make_named(one.root, "one")
    one.now += 100
    assert await one.look(3) == ["one"]
    assert one.runtime.worker("one:echo").state == "running"


async def test_a_directory_that_is_away_for_a_moment_is_no_change(one, tmp_path):
    one.root.rename(tmp_path / "away")
    assert await one.look(3, seconds=0.4) == []
    (tmp_path / "away").rename(one.root)
    assert await one.look(3) == []


async def test_a_capability_that_comes_and_goes_in_a_searched_directory_reloads_all(tmp_path):
    (tmp_path / "dir").mkdir()
    async with Runtime(port=None, capability_dirs=[tmp_path / "dir"]) as runtime:
        watching = Watching(runtime)
        await watching.look()
        make_named(tmp_path / "dir" / "new", "new")
        assert await watching.look(4) == [None]
        assert runtime.worker("new:echo").state == "running"
        (tmp_path / "dir" / "new" / "echo.py").write_text(CHANGED)
        watching.now += 100
        assert await watching.look(4) == ["new"]
        shutil.rmtree(tmp_path / "dir")
        assert await watching.look(4) == [None]
        assert [c.name for c in runtime.capabilities.all() if not c.live] == []
        (tmp_path / "dir").mkdir()
        make_named(tmp_path / "dir" / "new", "new")
        assert await watching.look(4) == [None]


async def test_a_worker_that_rewrites_its_own_file_is_reloaded_ever_more_rarely(one, caplog):
    caplog.set_level(logging.WARNING, "dnworker.watch")
    (one.root / "echo.py").write_text(ECHO + "import pathlib, time\np = pathlib.Path(__file__)\n"
        "p.write_text(p.read_text() + '# x\\n')\n")  # fmt: skip
    reloads = await one.look(100, seconds=0.4)
    assert 3 <= len(reloads) <= 6  # after about 0, 1, 3, 7, 15 and 31 seconds
    assert "changes again right after each reload (echo.py); the next reload waits" in caplog.text


async def test_somebody_who_saves_often_is_not_held_up(one):
    for number in range(5):
        one.now += 3
        (one.root / "echo.py").write_text(ECHO + f"# {number}\n")
        assert await one.look(3, seconds=0.4) == ["one"]


async def test_a_change_during_a_reload_is_seen_after_it(one):
    original = one.runtime.reload

    async def reload(capability=None):
        info = await original(capability)
        one.runtime.reload = original
        (one.root / "echo.py").write_text(ECHO + "# during\n")
        return info

    one.runtime.reload = reload
    (one.root / "echo.py").write_text(CHANGED)
    assert await one.look(4) == ["one", "one"]


async def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(one):
    (one.root / "echo.py").unlink()
    os.mkfifo(one.root / "echo.py")
    assert one.watcher._look_at([one.runtime.capability("one")])
    (one.root / "echo.py").unlink()  # hypothesis reads the file of every module, and would wait for it


async def test_watch_ends_when_it_is_asked_to():
    async with Runtime(port=None) as runtime:
        stop = asyncio.Event()
        stop.set()
        await watch(runtime, stop)
