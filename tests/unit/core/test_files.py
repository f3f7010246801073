"""Where the user's files are, and how small ones are replaced."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from dnworker.core import files
from dnworker.core.files import NO_HOME, home_directory, working_directory, write_atomically


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_without_a_variable_the_home_is_what_the_system_knows_or_nothing(monkeypatch, value):
    monkeypatch.delenv("HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("HOME", value)
    assert home_directory().is_absolute()
    monkeypatch.setattr(files.pwd, "getpwuid", lambda uid: {}[uid])
    assert home_directory() == NO_HOME


def test_a_working_directory_that_was_deleted_is_named_by_the_path_it_had(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert working_directory() in (gone, Path("/"))


def test_a_file_is_replaced_in_one_step_and_keeps_its_mode_and_link(tmp_path):
    file, link = tmp_path / "deep" / "state.json", tmp_path / "link.json"
    write_atomically(file, "old")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    link.symlink_to(file)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o640)


@pytest.mark.parametrize("name", ["fsync", "replace", "fchmod"])
def test_a_disk_that_fails_on_the_way_leaves_the_old_text_and_nothing_beside_it(tmp_path, monkeypatch, name):
    file = tmp_path / "state.json"
    write_atomically(file, "old")

    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, name, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
