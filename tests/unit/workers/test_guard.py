"""The guard, and the processes of a worker that it and the runner end: groups, runs, cgroups."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dnworker.core.lifecycle import Lifecycle, WorkerState
from dnworker.workers import family
from dnworker.workers.cgroups import Cgroups, own_cgroup
from dnworker.workers.family import VARIABLE, Family
from dnworker.workers.guard import STARTS, Guard
from dnworker.workers.subprocess_runner import SubprocessWorkerRunner

SLEEPER = "import signal; signal.pause()"

DAEMON = """
import os, subprocess, sys
daemon = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True,
                          env={} if "bare" in sys.argv else None, stdout=subprocess.DEVNULL)
print(daemon.pid, flush=True)
"""

IN_CGROUP = """
import time
while "/dnworker-" not in open("/proc/self/cgroup").read():
    time.sleep(0.001)
"""

linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")


def _why_no_cgroups() -> str | None:
    cgroups = Cgroups()
    made = cgroups.make("probe")
    cgroups.remove(made)
    return None if made is not None else cgroups.problem


def ended(pid: int) -> bool:
    """Return whether a process has ended; where nobody reaps orphans, a zombie stays."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_guarding(pid: int) -> bool:
    """Return whether a guard's program has started: it ignores SIGTERM by then, as no process does from the start."""
    ignored = Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0]
    return bool(int(ignored, 16) >> (signal.SIGTERM - 1) & 1)


def wait_until_ended(pid: int, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not ended(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return ended(pid)


def runner_of(code: str, tmp_path, *args: str, cgroups: Cgroups | None = None, lines=None):
    return SubprocessWorkerRunner(
        sys.executable,
        ["-u", "-c", code, *args],
        env=dict(os.environ),
        cwd=tmp_path,
        lifecycle=Lifecycle(),
        on_line=None if lines is None else lambda text, says: lines.put_nowait(text),
        grace_period_s=1,
        cgroups=cgroups,
    )


@linux
@pytest.mark.clause("13.3")
async def test_stop_ends_a_grandchild_that_left_the_session(tmp_path):
    lines: asyncio.Queue[str] = asyncio.Queue()
    runner = runner_of(DAEMON + SLEEPER, tmp_path, cgroups=Cgroups(None), lines=lines)
    await runner.start()
    daemon = int(await lines.get())
    await runner.stop()
    assert ended(daemon)


@linux
async def test_a_normal_exit_ends_a_grandchild_that_left_the_session(tmp_path):
    lines: asyncio.Queue[str] = asyncio.Queue()
    runner = runner_of(DAEMON, tmp_path, cgroups=Cgroups(None), lines=lines)
    await runner.start()
    daemon = int(await lines.get())
    await runner._watch
    assert runner.state is WorkerState.STOPPED
    assert ended(daemon)


@pytest.mark.skipif(_why_no_cgroups() is not None, reason=f"no cgroups: {_why_no_cgroups()}")
async def test_with_a_cgroup_also_one_with_an_empty_environment_ends(tmp_path):
    lines: asyncio.Queue[str] = asyncio.Queue()
    cgroups = Cgroups()
    # It forks once it is in the cgroup: the moment before that is the one that decision 0037 names.
    runner = runner_of(IN_CGROUP + DAEMON + SLEEPER, tmp_path, "bare", cgroups=cgroups, lines=lines)
    await runner.start()
    base = cgroups._base
    daemon = int(await lines.get())
    assert f"/{base.name}/" in Path(f"/proc/{daemon}/cgroup").read_text()
    await runner.stop()
    assert ended(daemon)
    assert not base.exists()


async def test_a_directory_that_is_no_cgroup_is_left_as_it_was(tmp_path):
    cgroups = Cgroups(tmp_path)
    assert cgroups.make("demo:w") is None
    assert cgroups.problem == "it is no cgroup"
    assert list(tmp_path.iterdir()) == []


def test_a_cgroup_that_cannot_be_made_for_once_is_made_for_the_next_run(tmp_path, monkeypatch):
    mkdir, refuse = Path.mkdir, [True]

    def make(self, *args, **options):
        if refuse:
            raise OSError(errno.ENOSPC, "No space left on device")
        mkdir(self, *args, **options)
        if self.name.startswith("demo"):
            (self / "cgroup.procs").touch()

    monkeypatch.setattr(Path, "mkdir", make)
    cgroups = Cgroups(tmp_path)
    assert (cgroups.make("demo:w"), cgroups.problem) == (None, None)
    refuse.clear()
    assert cgroups.make("demo:w") is not None


def test_a_cgroup_that_must_not_be_written_is_done_without(tmp_path, monkeypatch):
    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    cgroups = Cgroups(tmp_path)
    assert cgroups.make("demo:w") is None
    assert "Permission denied" in cgroups.problem
    assert cgroups.enter(None, 1) is None


@pytest.mark.parametrize(
    ("cgroup", "mount", "expected"),
    [
        (
            "0::/user.slice/x.scope",
            "1 2 0:3 / /sys/fs/cgroup rw - cgroup2 none rw",
            "/sys/fs/cgroup/user.slice/x.scope",
        ),
        (
            "3:cpu:/a\n0::/",
            "1 2 0:3 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 none rw",
            "/sys/fs/cgroup/unified",
        ),
        ("0::/docker/abc/x", "1 2 0:3 /docker/abc /sys/fs/cgroup rw - cgroup2 none rw", "/sys/fs/cgroup/x"),
        ("0::/other", "1 2 0:3 /docker/abc /sys/fs/cgroup rw - cgroup2 none rw", None),
        ("3:cpu:/a", "1 2 0:3 / /sys/fs/cgroup rw - cgroup2 none rw", None),
        ("0::/", "1 2 0:3 / /sys/fs/cgroup rw - cgroup none rw,cpu", None),
    ],
    ids=["unified", "hybrid", "in a container", "outside the mount", "version 1", "not mounted"],
)
def test_the_own_cgroup_is_found_by_what_the_kernel_says(tmp_path, cgroup, mount, expected):
    (tmp_path / "cgroup").write_text(cgroup + "\n")
    (tmp_path / "mountinfo").write_text(mount + "\n")
    assert own_cgroup(tmp_path) == (None if expected is None else Path(expected))


def test_a_group_whose_number_was_given_to_a_stranger_is_left_alone():
    with subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True) as stranger:
        known = Family(stranger.pid, family.start_time(stranger.pid) - 1)
        family.end_families([known], grace=0)
        assert not family.signal_group(known, 0)
        assert stranger.poll() is None
        stranger.kill()


@linux
def test_a_process_of_a_run_is_found_by_its_environment_only_while_it_is_that_process():
    run = secrets.token_hex(8)
    env = {**os.environ, VARIABLE: run}
    with subprocess.Popen([sys.executable, "-c", SLEEPER], env=env) as process:
        while run not in family.marked({run}):  # it has not been executed yet
            pass
        assert family.marked({run}) == {run: [(process.pid, family.start_time(process.pid))]}
        family.send((process.pid, 1), signal.SIGKILL)  # a number that was given to it later
        assert process.poll() is None
        family.send((process.pid, family.start_time(process.pid)), signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
    assert family.marked({run}) == {}


async def test_a_guard_that_was_killed_is_started_again_by_itself_and_knows_everything():
    guard = Guard()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SLEEPER, start_new_session=True)
    guard.watch(process.pid)
    first = guard.pid
    os.kill(first, signal.SIGKILL)
    while guard.pid == first:
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(process.wait())
    await asyncio.to_thread(guard.close)
    assert await waiting == -signal.SIGTERM


async def test_a_guard_that_always_dies_is_not_started_in_a_loop(caplog):
    guard = Guard()
    guard._families["w"] = Family(run="w")
    for _ in range(STARTS):
        guard._restart()
        assert guard.pid is not None
    guard._restart()
    guard._restart()
    assert guard.pid is None
    assert caplog.text.count("ended each time") == 1
    guard._families.clear()
    guard.close()


async def test_a_guard_that_cannot_be_started_does_not_fail_a_worker(monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    guard = Guard()
    guard.watch(2**22 - 3)
    assert "cannot be started" in caplog.text
    guard._families.clear()
    guard.close()


async def test_a_guard_that_is_stopped_does_not_stop_the_runtime():
    guard = Guard()
    guard.watch(2**22 - 3)
    os.kill(guard.pid, signal.SIGSTOP)
    for number in range(20_000):  # far more than a pipe holds
        guard._families["w"] = Family(run="w" * 100)
        guard._say(json.dumps([str(number)]).encode() + b"\n")
    guard._families.clear()
    guard.release(2**22 - 3)
    await asyncio.to_thread(guard.close)


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signals_that_are_meant_for_the_runtime_do_not_end_its_guard(number):
    guard = Guard()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SLEEPER, start_new_session=True)
    guard.watch(process.pid)
    while not is_guarding(guard.pid):
        await asyncio.sleep(0)
    os.kill(guard.pid, number)
    waiting = asyncio.create_task(process.wait())
    await asyncio.to_thread(guard.close)
    assert await waiting == -signal.SIGTERM
    assert guard.pid is None


FORKING = """
import os, subprocess, sys, signal, time
from dnworker.workers.guard import Guard
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
guard = Guard()
guard.watch(child.pid)
fork = os.fork()
if fork == 0:
    signal.pause()
print(child.pid, fork, guard.pid, flush=True)
signal.pause()
"""


@linux
@pytest.mark.parametrize("stopped", [False, True], ids=["", "and the guard is stopped"])
def test_children_end_with_a_killed_runtime_although_a_fork_of_it_lives(stopped):
    with subprocess.Popen([sys.executable, "-c", FORKING], stdout=subprocess.PIPE, text=True) as runtime:
        child, fork, guard = map(int, runtime.stdout.readline().split())
        try:
            while not is_guarding(guard):
                pass
            if stopped:
                os.kill(guard, signal.SIGSTOP)
            runtime.kill()
            runtime.wait()
            assert wait_until_ended(child)
        finally:
            os.kill(fork, signal.SIGKILL)
            runtime.stdout.close()


async def test_what_comes_to_a_guard_that_is_closed_starts_no_other_one():
    guard = Guard()
    guard.expect("run")
    guard.close()
    guard.watch(os.getpid(), run="run")
    guard.forget("run")
    assert guard.pid is None
    guard.expect("another")
    assert guard.pid is not None
    guard.forget("another")
    guard.close()


STUBBORN = """
import signal
def term(*_):
    print("asked", flush=True)
signal.signal(signal.SIGTERM, term)
print("ready", flush=True)
while True:
    signal.pause()
"""


async def test_the_loop_goes_on_while_the_guard_ends_what_is_left():
    guard = Guard()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STUBBORN, start_new_session=True, stdout=asyncio.subprocess.PIPE
    )
    assert await process.stdout.readline() == b"ready\n"
    guard.watch(process.pid)
    closing = asyncio.create_task(guard.aclose())
    assert await process.stdout.readline() == b"asked\n"
    assert not closing.done()
    guard.expect("another")  # a worker that is started meanwhile has a guard of its own
    guard.kill()  # the second signal: what is being ended dies at once
    assert await process.wait() == -signal.SIGKILL
    await closing
    assert guard.pid is not None
    guard.forget("another")
    await guard.aclose()
    assert guard.pid is None


async def test_the_end_of_a_guard_is_awaited_also_where_the_kernel_does_not_tell(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    guard = Guard()
    guard.expect("run")
    program = guard._program
    await guard.aclose()
    assert program.returncode == 0


@pytest.fixture
def sleeper():
    """Starts processes that a guard is told of; none is left."""
    guard, started = Guard(), []

    def start(run: str) -> subprocess.Popen:
        guard.expect(run)
        process = subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)
        started.append(process)
        guard.watch(process.pid, run=run)
        return process

    yield guard, start
    for process in started:
        process.kill()
        process.wait()
    guard.close()


def test_a_run_whose_bound_passes_is_killed_by_the_program_and_no_other(sleeper):
    guard, start = sleeper
    bounded, other, put_off = start("bounded"), start("other"), start("put off")
    guard.bound("put off", family.boot_time() + 0.3)
    guard.bound("put off", family.boot_time() + 60)
    guard.bound("bounded", family.boot_time() + 0.3)
    assert wait_until_ended(bounded.pid)  # nothing here has turned meanwhile
    assert not ended(other.pid)
    assert not ended(put_off.pid)


def test_a_program_that_is_started_again_knows_of_bounds(sleeper):
    guard, start = sleeper
    process = start("bounded")
    guard.bound("bounded", family.boot_time() + 1.0)
    os.kill(guard.pid, signal.SIGKILL)
    wait_until_ended(guard.pid)
    start("another")  # which tells it that the program is gone
    assert wait_until_ended(process.pid)


def test_a_bound_of_a_run_that_has_ended_is_forgotten(sleeper):
    guard, start = sleeper
    process = start("bounded")
    guard.bound("bounded", family.boot_time() + 0.5)
    guard.forget("bounded")
    guard.bound("bounded", family.boot_time())  # of a renewal that comes late
    time.sleep(1.2)
    assert not ended(process.pid)
