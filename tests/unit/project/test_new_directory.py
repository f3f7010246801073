"""A new directory is there whole, or nothing has changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.capability.manifest import parse_manifest
from dnworker.core.errors import UsageError
from dnworker.project.new_directory import check_name, free_directory, new_directory, write_files

FILES = {"capability.yaml": b"1", "workers/a.py": b"2", ".hidden": b"3"}


def fill(place):
    write_files(place, FILES)
    return "done"


def listing(directory):
    return sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*"))


@given(st.text(max_size=200))
def test_the_rule_of_names_is_that_of_manifests_and_the_name_that_is_proposed_is_good(name):
    try:
        assert check_name(name) == name
    except UsageError as exc:
        assert "\n" not in str(exc)
        proposed = str(exc).rpartition("; use ")[2]
        assert proposed == "another, such as demo" or check_name(proposed)
    else:
        head = f"name: '{name}'\nversion: 0.1.0\ndescription: x\n"
        assert parse_manifest(head, Path("/"), is_head=True, source="x").name == name


@pytest.mark.parametrize(
    ("name", "near"),
    [("My Cap", "my-cap"), ("demo_1", "demo-1"), ("-x", "x"), ("Über", "ber"), ("é", "another")],
)
def test_the_nearest_good_name_is_proposed(name, near):
    with pytest.raises(UsageError, match=rf"use {near}\b"):
        check_name(name)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("where", ["new", "a/b/new"])
def test_all_files_come_at_once_and_nothing_else_stays(tmp_path, there, where):
    directory = tmp_path / where
    if there:
        directory.mkdir(parents=True)
    assert new_directory(free_directory(directory), fill) == "done"
    assert listing(directory) == [".hidden", "capability.yaml", "workers", "workers/a.py"]
    assert sorted(p.name for p in directory.parent.iterdir()) == ["new"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o777 & ~mask


def test_the_directory_that_this_runs_in_stays_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new_directory(free_directory(Path()), fill)
    assert sorted(p.name for p in Path().iterdir()) == [".hidden", "capability.yaml", "workers"]


@pytest.mark.parametrize("there", ["none", "empty", "runs in it"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there_before(tmp_path, monkeypatch, there, error):
    directory = tmp_path / "a" / "new"
    if there != "none":
        directory.mkdir(parents=True)
    if there == "runs in it":
        monkeypatch.chdir(directory)
    before = listing(tmp_path)

    def fails(place):
        fill(place)
        raise error

    expected = UsageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match=r"No space left on device; nothing was written|^$"):
        new_directory(free_directory(directory), fails)
    assert listing(tmp_path) == before


def test_a_rename_that_fails_in_the_directory_that_this_runs_in_is_undone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real = Path.rename

    def rename(self, target):
        if self.name == "capability.yaml" and Path(target).parent == tmp_path:
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(UsageError, match="Input/output error; nothing was written"):
        new_directory(free_directory(tmp_path), fill)
    assert listing(tmp_path) == []


def test_what_somebody_puts_there_meanwhile_is_not_lost(tmp_path):
    directory = tmp_path / "new"

    def late(place):
        fill(place)
        directory.mkdir()
        (directory / "mine").write_text("mine")

    with pytest.raises(UsageError, match="nothing was written"):
        new_directory(free_directory(directory), late)
    assert listing(tmp_path) == ["new", "new/mine"]


def test_directories_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match=r"is not empty: it has file, loop; name a directory"):
        free_directory(tmp_path)
    with pytest.raises(UsageError, match="file is no directory"):
        free_directory(tmp_path / "file")
    with pytest.raises(UsageError, match="loop of symbolic links"):
        free_directory(tmp_path / "loop")
    with pytest.raises(UsageError, match="no directory|could not be made"):
        new_directory(free_directory(tmp_path / "file" / "new"), fill)
    with pytest.raises(UsageError):
        free_directory(tmp_path / ("x" * 300))
