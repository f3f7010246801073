"""The log files of worker processes: names, links, full disks, other runtimes."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.workers import log_file
from dnworker.workers.log_file import LogFile, LogFiles, log_path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "worker-demo-relay.log"


@pytest.fixture
def file(path):
    made = LogFile(path, 1_000, "demo:relay")
    yield made
    made.close()


class FullDisk:
    """Stands for `os.write` on a disk with so many bytes of room."""

    def __init__(self, monkeypatch, room: int) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr(log_file.os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.mark.clause("3.3 log")
def test_the_file_is_for_its_owner_only_also_one_that_an_older_version_made(file, path):
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    file.begin()
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    assert modes == {"worker-demo-relay.log": 0o600, "worker-demo-relay.log.prev": 0o600}


@pytest.mark.clause("3.3 log")
def test_every_run_begins_a_file_and_the_one_before_is_prev(file, path):
    for text in (b"one", b"two", b""):
        file.begin()
        file.write(text)
        file.end()
    assert path.read_bytes() == b""
    assert path.with_name(path.name + ".prev").read_bytes() == b"two"


def test_a_file_that_is_too_long_becomes_prev_at_the_end_of_a_line(file, path):
    file.begin()
    for number in range(30):
        file.write(b"%049d\n" % number)
    assert path.read_bytes().split() == [b"%049d" % n for n in range(20, 30)]
    assert path.with_name(path.name + ".prev").stat().st_size == 1_000


def test_a_second_runtime_of_the_home_has_a_name_of_its_own(file, path):
    other = LogFile(path, 1_000, "demo:relay")
    for one in (file, other):
        one.begin()
        one.write(b"mine\n")
    assert (file.path.name, other.path.name) == ("worker-demo-relay.log", "worker-demo-relay-2.log")
    other.begin()
    assert path.read_bytes() == b"mine\n"
    file.close()
    other.close()
    assert not path.with_name(path.name + ".prev").exists()


def test_a_file_that_was_closed_is_not_touched_by_what_a_run_that_was_left_behind_prints(file, path):
    file.begin()
    file.write(b"in time\n")
    file.close()
    file.write(b"too late\n")
    assert path.read_bytes() == b"in time\n"
    assert not path.with_name(f"{path.name}.prev").exists()
    file.begin()
    file.write(b"the next run\n")
    assert path.read_bytes() == b"the next run\n"


def test_a_name_is_free_again_when_its_process_was_killed(file, path):
    code = (
        "import sys; from pathlib import Path; from dnworker.workers.log_file import LogFile\n"
        "f = LogFile(Path(sys.argv[1]), 1000, 'w'); f.begin(); f.write(b'first'); print(f.path.name, flush=True)\n"
        "import signal; signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "worker-demo-relay.log\n"
        file.begin()
        assert file.path.name == "worker-demo-relay-2.log"
        process.kill()
    again = LogFile(path, 1_000, "demo:relay")
    again.begin()
    assert again.path == path
    assert path.with_name(path.name + ".prev").read_bytes() == b"first"
    again.close()


def test_a_link_in_its_place_is_not_followed(file, path, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.parent.mkdir()
    path.symlink_to(victim)
    file.begin()
    file.write(b"x")
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert path.read_bytes() == b"x"


def test_a_link_that_is_planted_while_it_runs_is_not_followed(file, path, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    file.begin()
    path.unlink()
    path.symlink_to(victim)
    file.write(b"x\n" * 1_000)
    file.begin()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "plant",
    [Path.mkdir, os.mkfifo, lambda path: os.link(__file__, path)],
    ids=["directory", "fifo", "hard link"],
)
def test_what_is_no_file_of_its_own_in_the_place_is_left_alone(file, path, plant):
    path.parent.mkdir()
    try:
        plant(path)
    except OSError as exc:
        pytest.skip(f"cannot be made here: {exc}")
    before = path.lstat()
    file.begin()
    file.write(b"x")
    assert file.path.name == "worker-demo-relay-2.log"
    assert path.lstat().st_mode == before.st_mode
    assert path.lstat().st_size == before.st_size


def test_a_file_that_was_removed_is_made_again(file, path):
    file.begin()
    file.write(b"one\n")
    path.unlink()
    file.write(b"two\n")
    assert path.read_bytes() == b"two\n"


def test_a_full_disk_is_said_once_and_the_file_says_what_is_missing(file, path, monkeypatch, caplog):
    file.begin()
    disk = FullDisk(monkeypatch, room=6)
    for _ in range(10):
        file.write(b"12345\n")
    assert file.missing == 54
    disk.room = 10  # not enough for the note
    file.write(b"12345\n")
    assert path.read_bytes() == b"12345\n"
    disk.room = 1_000
    file.write(b"again\n")
    assert path.read_text() == (
        "12345\n[dnworker: 60 bytes are missing here: No space left on device]\nagain\n"
    )
    assert caplog.text.count("cannot be written") == 1
    assert "60 bytes are missing" in caplog.text


def test_a_run_that_ends_when_there_is_room_again_still_says_what_is_missing(file, path, monkeypatch):
    file.begin()
    disk = FullDisk(monkeypatch, room=3)
    file.write(b"12345\n")
    disk.room = 1_000
    file.end()
    assert path.read_text() == "123\n[dnworker: 3 bytes are missing here: No space left on device]\n"


def test_a_prev_that_cannot_be_replaced_costs_the_old_log_only(file, path):
    path.parent.mkdir()
    (path.with_name(path.name + ".prev") / "in the way").mkdir(parents=True)
    path.write_text("old")
    file.begin()
    file.write(b"new")
    assert path.read_bytes() == b"new"


def test_without_a_directory_lines_are_printed_with_their_worker_and_the_reason_is_said_once(
    tmp_path, monkeypatch, caplog
):
    (tmp_path / ".dreadnode").write_text("a file in the way")
    monkeypatch.setenv("HOME", str(tmp_path))
    files, printed = LogFiles(1_000), []
    files.print_line = lambda worker, line: printed.append((worker, line))
    for worker in ("one", "two"):
        file = files.of("demo", worker)
        file.begin()
        file.write(b"hello\n")
        file.print("hello")
        file.end()
    assert printed == [("demo:one", "hello"), ("demo:two", "hello")]
    assert caplog.text.count("cannot be kept") == 1
    files.close()


def test_a_home_that_nobody_knows_is_no_error(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("dnworker.core.files.pwd.getpwuid", lambda uid: {}[uid])
    files = LogFiles(1_000)
    file = files.of("demo", "w")
    file.begin()
    assert not file.is_open
    assert files.path_of("demo", "w").name == "worker-demo-w.log"


def test_a_worker_keeps_its_file_over_restarts_and_reloads(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    files = LogFiles(1_000)
    first = files.of("demo", "w")
    assert files.of("demo", "w") is first
    first.end()
    for number in range(200):
        file = files.of("demo", f"w{number}")
        file.begin()
        file.end()
    assert len(files._files) == log_file.IDLE_KEPT + 1  # which the newest is not idle among
    files.close()


@given(st.text(max_size=400), st.text(max_size=400))
def test_every_name_is_one_that_a_file_can_have(capability, worker):
    path = log_path(capability, worker)
    assert path.parent.name == "logs"
    assert len(f"{path.name}-100.prev".encode()) <= 255
    assert "/" not in path.name
    assert "\0" not in path.name


def test_names_that_a_manifest_allows_are_those_of_the_contract():
    assert log_path("my-cap", "relay").name == "worker-my-cap-relay.log"
    assert log_path("c" * 200, "w" * 100).name != log_path("c" * 200, "w" * 101).name
