"""The list of running runtimes, and homes in which nothing can be kept."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dnworker import Runtime, UsageError, Worker
from dnworker.cli.main import main
from dnworker.engine.running import Running, forget, own_token_file, register, register_notebook, running
from dnworker.workers.log_file import LogFiles


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def runtime():
    return SimpleNamespace(
        url="http://127.0.0.1:1",
        server=SimpleNamespace(addresses=["unix:/run/s", "http://127.0.0.1:1"]),
        services=SimpleNamespace(log_files=LogFiles(1)),
    )


def test_a_runtime_is_listed_until_it_is_forgotten(home, runtime):
    file = register(runtime, own_token_file("secret"))
    (entry,) = running()
    assert entry.url == runtime.url
    assert entry.addresses == ["unix:/run/s", "http://127.0.0.1:1"]
    assert stat.S_IMODE(file.with_suffix(".token").stat().st_mode) == 0o600
    forget(file)
    assert running() == []
    assert list(file.parent.iterdir()) == []


def test_runtimes_are_listed_by_the_numbers_of_their_processes(home, monkeypatch):
    monkeypatch.setattr(Running, "is_alive", True)
    directory = home / ".dreadnode" / "dnworker"
    directory.mkdir(parents=True)
    for pid in (10000, 9999, 123456):
        entry = {"url": f"http://127.0.0.1:{pid % 60000}", "pid": pid}
        (directory / f"runtime-{pid}.json").write_text(json.dumps(entry))
    assert [one.pid for one in running()] == [9999, 10000, 123456]


def test_a_token_file_that_was_planted_as_a_link_is_not_followed(home):
    victim = home / "victim"
    victim.write_text("precious")
    file = own_token_file("secret")
    file.unlink()
    file.symlink_to(victim)
    assert own_token_file("secret").read_text() == "secret\n"
    assert victim.read_text() == "precious"


def test_a_home_that_is_a_file_costs_the_list_and_one_line(home, runtime, monkeypatch, caplog):
    (home / "file").touch()
    monkeypatch.setenv("HOME", str(home / "file"))
    forget(register(runtime, None))
    assert running() == []
    assert caplog.text.count("nothing can be kept") == 1
    with pytest.raises(UsageError, match="--token-file or DREADNODE_RUNTIME_TOKEN"):
        own_token_file("secret")


def test_a_notebook_is_listed_with_its_file_and_its_token_is_its_owners_alone(home):
    file = register_notebook("http://127.0.0.1:1", "secret", home / "a.ipynb")
    (entry,) = running()
    assert entry.is_notebook
    assert entry.described == f"http://127.0.0.1:1 (notebook {home}/a.ipynb)"
    assert "secret" not in file.read_text()
    assert stat.S_IMODE(file.with_suffix(".token").stat().st_mode) == 0o600
    register_notebook("http://127.0.0.1:1", "secret", home / "b.ipynb")  # it was renamed
    (entry,) = running()
    assert entry.notebook == str(home / "b.ipynb")
    forget(file)
    assert list(file.parent.iterdir()) == []


def listed_as(home, pid: int, url: str, **more) -> None:
    entry = {"url": url, "pid": pid, "working_dir": "/here", **more}
    directory = home / ".dreadnode" / "dnworker"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"runtime-{pid}.json").write_text(json.dumps(entry))


@pytest.fixture
def another():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


async def test_ps_shows_each_runtime_of_several_and_which_is_a_notebook(home, another, monkeypatch, capsys):
    monkeypatch.delenv("DREADNODE_RUNTIME_URL", raising=False)
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "t")
    async with Runtime(port=0, token="t") as first, Runtime(port=0, token="t") as second:
        worker = Worker("desk")
        worker.on_event("ask")(_nothing)
        await second.add(worker)
        listed_as(home, os.getpid(), first.url)
        listed_as(home, another, second.url, is_notebook=True, notebook="/n/a.ipynb")
        assert await asyncio.to_thread(main, ["ps"]) == 0
        said = capsys.readouterr().out
        assert f"{first.url} (in /here)" in said
        assert f"{second.url} (notebook /n/a.ipynb)" in said
        assert said.index("desk") > said.index("a.ipynb")
        assert await asyncio.to_thread(main, ["ps", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["runtimes"]
        assert {one["url"]: one["is_notebook"] for one in found} == {first.url: False, second.url: True}
    assert await asyncio.to_thread(main, ["ps"]) == 1  # neither answers any more
    assert capsys.readouterr().out.count("no runtime answers at") == 2


async def _nothing(event, client):
    """Handle an event."""
