"""The list of running runtimes, and homes in which nothing can be kept."""

from __future__ import annotations

import stat
from types import SimpleNamespace

import pytest

from dnworker import UsageError
from dnworker.cli.running import forget, own_token_file, register, running
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
