"""The doctor on directories, files of tokens and disks."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from dnworker.doctor import home


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    made = home.state_directory()
    made.mkdir(parents=True)
    for one in (made, made.parent):
        one.chmod(0o755)
    return made


def test_a_home_that_can_be_written_is_well(state):
    (one,) = home.directories()
    assert (one.mark, one.text) == ("ok", "~/.dreadnode/dnworker is writable")


def test_directories_that_are_not_there_are_made_later(tmp_path):
    (one,) = home.directories(tmp_path / "a" / "b")
    assert one.mark == "ok"
    assert one.text.endswith("is made when it is needed")


def test_a_home_that_cannot_be_written_is_a_problem(state, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (one,) = home.directories()
    assert (one.mark, one.text.partition(":")[0]) == ("problem", "~/.dreadnode/dnworker cannot be written")


def test_a_file_in_the_place_of_the_directory_is_a_problem(tmp_path):
    (tmp_path / ".dreadnode").write_text("")
    (one,) = home.directories(tmp_path / ".dreadnode" / "dnworker")
    assert (one.mark, one.text) == ("problem", f"{tmp_path / '.dreadnode'} is no directory")


def test_a_directory_that_others_may_write_to_is_a_problem(state):
    state.chmod(0o777)
    (one,) = home.directories()
    assert (one.mark, one.remedy) == ("problem", "chmod go-w ~/.dreadnode/dnworker")


def test_a_token_that_others_may_read_is_a_problem_and_is_not_shown(state):
    file = state / "runtime-1.token"
    file.write_text("secret")
    file.chmod(0o644)
    (one,) = home.token_files(environ={})
    assert (one.mark, "0644" in one.text, "secret" in str(one)) == ("problem", True, False)
    file.chmod(0o600)
    (one,) = home.token_files(environ={})
    assert (one.mark, one.text) == ("ok", "1 file, which only you can read")


def test_a_token_file_of_the_environment_that_is_not_there_is_a_problem(state, tmp_path):
    (one,) = home.token_files(environ={home.TOKEN_VARIABLE: str(tmp_path / "no")})
    assert (one.mark, one.text) == (
        "problem",
        "~/no, which DREADNODE_RUNTIME_TOKEN_FILE names, cannot be read: No such file or directory",
    )


@pytest.mark.parametrize(
    ("free", "inodes", "mark"),
    [(10**12, 9, "ok"), (5 * 10**8, 9, "warning"), (10**6, 9, "problem"), (10**12, 0, "problem")],
)
def test_a_disk_with_little_room_is_named(tmp_path, monkeypatch, free, inodes, mark):
    monkeypatch.setattr(home.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    monkeypatch.setattr(home.os, "statvfs", lambda path: SimpleNamespace(f_files=10, f_favail=inodes))
    (one,) = home.room([tmp_path, tmp_path / "not there yet"])
    assert one.mark == mark


def test_a_place_for_temporary_files_that_is_not_there_is_a_problem(tmp_path):
    assert [one.mark for one in home.temporary(str(tmp_path / "no"))] == ["problem"]
    assert [one.mark for one in home.temporary(str(tmp_path))] == ["ok"]
