"""The temporary directories of worker processes, and what killed kernels leave of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from dnworker_jupyter.kernel.directory import LOCK, PREFIX, Directory, remove_left

KERNEL = """
import signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from dnworker_jupyter.kernel.directory import Directory
made = Directory("workers")
(made.path / "w-1").mkdir()
(made.path / "w-1" / "w.py").write_text("worker")
print(made.path, flush=True)
signal.pause()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left():
    remove_left().join()


def test_what_a_killed_kernel_leaves_is_removed_and_what_a_living_one_has_stays(temporary):
    command = [sys.executable, "-c", KERNEL, str(temporary)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as kernel:
        path = temporary / kernel.stdout.readline().strip()
        left()
        assert (path / "w-1" / "w.py").read_text() == "worker"
        kernel.send_signal(signal.SIGKILL)
    assert path.exists()
    left()
    assert not path.exists()


def test_ones_own_is_kept_until_it_is_removed(temporary):
    made = Directory("workers")
    left()
    assert made.path.is_dir()
    made.remove()
    assert list(temporary.iterdir()) == []


def test_what_only_looks_like_one_is_left_alone(temporary):
    no_lock, file = temporary / f"{PREFIX}a", temporary / f"{PREFIX}b"
    no_lock.mkdir()
    file.write_text("text")
    mine = temporary / "mine"
    mine.mkdir()
    (mine / LOCK).touch()
    (temporary / f"{PREFIX}c").symlink_to(mine)
    pipe = temporary / f"{PREFIX}d"
    pipe.mkdir()
    (pipe / LOCK).symlink_to(mine / LOCK)
    left()
    assert no_lock.is_dir()
    assert file.is_file()
    assert (mine / LOCK).exists()
    assert pipe.is_dir()


def test_a_pipe_in_the_place_of_the_lock_stops_nothing(temporary):
    path = temporary / f"{PREFIX}a"
    path.mkdir()
    os.mkfifo(path / LOCK)
    left()
