"""Real child processes: spawn, output, exit, stop, and what they leave behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from dnworker.core.lifecycle import Lifecycle, WorkerState
from dnworker.workers.guard import Guard, end_groups
from dnworker.workers.log_file import LogFile
from dnworker.workers.subprocess_runner import SubprocessWorkerRunner


def log_in(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "logs" / "worker.log", 1_000_000, "demo:w")


class Child:
    """A runner of a Python one-liner, and the states it went through."""

    def __init__(self, code: str, tmp_path: Path, **options):
        self.states: asyncio.Queue[tuple[WorkerState, str | None]] = asyncio.Queue()
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        lifecycle = Lifecycle()
        lifecycle.listen(lambda state, error: self.states.put_nowait((state, error)))
        self.runner = SubprocessWorkerRunner(
            options.pop("command", sys.executable),
            options.pop("args", ["-u", "-c", code]),
            env=options.pop("env", dict(os.environ)),
            cwd=tmp_path,
            log_file=options.pop("log_file", None) or log_in(tmp_path),
            lifecycle=lifecycle,
            on_line=lambda text, says: self.lines.put_nowait(text),
            **options,
        )

    async def until(self, state: WorkerState) -> str | None:
        """Wait for a state and return its error text."""
        while True:
            now, error = await self.states.get()
            if now is state:
                return error

    async def line(self, text: str) -> None:
        """Wait for a line of output."""
        while await self.lines.get() != text:
            pass


async def ended(pid: int) -> None:
    """Wait until a process has ended; where nobody reaps orphans, a zombie stays."""
    while psutil.pid_exists(pid):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        await asyncio.sleep(0)


@pytest.mark.clause("3.3 ring")
async def test_output_is_kept_in_ring_and_log_and_the_tail_in_the_error(tmp_path):
    child = Child(
        "import sys\nfor n in range(1, 31): print(f'line{n}')\nprint('oops', file=sys.stderr)\nsys.exit(3)",
        tmp_path,
    )
    await child.runner.start()
    error = await child.until(WorkerState.ERROR)
    tail = "\n".join([*(f"line{n}" for n in range(12, 31)), "oops"])
    assert error == f"exited with code 3\n\nWorker output:\n{tail}"
    assert len(child.runner.recent_output) == 31
    assert (tmp_path / "logs" / "worker.log").read_text().splitlines()[-1] == "oops"


@pytest.mark.clause("3.4 exit")
async def test_an_exit_without_output_is_only_its_code(tmp_path):
    child = Child("raise SystemExit(5)", tmp_path)
    await child.runner.start()
    assert await child.until(WorkerState.ERROR) == "exited with code 5"


@pytest.mark.clause("3.4 exit")
async def test_a_clean_exit_is_stopped_without_error(tmp_path):
    child = Child("print('bye')", tmp_path)
    await child.runner.start()
    assert await child.until(WorkerState.STOPPED) is None


@pytest.mark.clause("3.4 exit")
async def test_death_by_signal_is_the_negative_number(tmp_path):
    child = Child("import os; os.kill(os.getpid(), 9)", tmp_path)
    await child.runner.start()
    assert await child.until(WorkerState.ERROR) == "exited with code -9"


@pytest.mark.clause("3.1 spawn")
async def test_a_command_that_does_not_exist_is_an_error_with_an_empty_log(tmp_path):
    child = Child("", tmp_path, command="no-such-program", args=[])
    await child.runner.start()
    assert child.runner.error.startswith(
        "spawn failed: [Errno 2] No such file or directory: 'no-such-program'"
    )
    assert (child.runner.pid, (tmp_path / "logs" / "worker.log").read_bytes()) == (None, b"")


@pytest.mark.clause("3.1 spawn")
async def test_a_relative_command_is_found_in_the_capability(tmp_path):
    program = tmp_path / "bin" / "relay"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    child = Child("", tmp_path, command="bin/relay", args=[])
    await child.runner.start()
    await child.until(WorkerState.STOPPED)
    assert child.runner.recent_output == ["here"]


@pytest.mark.clause("3.3 log")
async def test_the_log_of_the_run_before_is_kept_as_prev(tmp_path):
    log = log_in(tmp_path)
    for word in ("first", "second", "third"):
        child = Child(f"print('{word}')", tmp_path, log_file=log)
        await child.runner.start()
        await child.until(WorkerState.STOPPED)
    assert (tmp_path / "logs" / "worker.log").read_text() == "third\n"
    assert (tmp_path / "logs" / "worker.log.prev").read_text() == "second\n"


@pytest.mark.clause("13.4")
async def test_lines_of_any_length_and_a_last_line_without_newline_are_read(tmp_path):
    child = Child("import sys; print('x' * 300_000); print(); sys.stdout.write('end')", tmp_path)
    await child.runner.start()
    await child.until(WorkerState.STOPPED)
    long, end = child.runner.recent_output
    assert long.startswith("x" * 65_536 + " [cut: 234,464 more characters; the whole line is in ")
    assert end == "end"
    assert (tmp_path / "logs" / "worker.log").stat().st_size == 300_000 + 1 + 1 + 3


@pytest.mark.clause("3.3 ring")
async def test_bytes_that_are_no_utf8_are_replaced(tmp_path):
    child = Child("import sys; sys.stdout.buffer.write(b'a\\xffb\\r\\n')", tmp_path)
    await child.runner.start()
    await child.until(WorkerState.STOPPED)
    assert child.runner.recent_output == ["a\ufffdb"]


@pytest.mark.clause("3.5 stop")
async def test_stop_asks_first_and_takes_any_exit_code_for_stopped(tmp_path):
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('up'); signal.pause()"
    child = Child(code, tmp_path)
    await child.runner.start()
    await child.line("up")
    await child.runner.stop()
    assert (child.runner.state, child.runner.error) == (WorkerState.STOPPED, None)


@pytest.mark.clause("3.5 stop")
async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path):
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('up')\nwhile True: signal.pause()"
    child = Child(code, tmp_path, grace_period_s=0.2)
    await child.runner.start()
    await child.line("up")
    await child.runner.stop()
    assert child.runner.state is WorkerState.STOPPED
    assert not psutil.pid_exists(child.runner.pid)


GRANDCHILD = """
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(grandchild.pid)
"""


@pytest.mark.clause("13.3")
async def test_grandchildren_that_hold_the_pipe_do_not_hide_an_exit_and_end_too(tmp_path):
    child = Child(GRANDCHILD + "sys.exit(4)", tmp_path)
    await child.runner.start()
    error = await child.until(WorkerState.ERROR)
    assert error.startswith("exited with code 4")
    await ended(int(child.runner.recent_output[0]))


@pytest.mark.clause("13.3")
async def test_stop_ends_grandchildren(tmp_path):
    child = Child(GRANDCHILD + "import signal; signal.pause()", tmp_path, grace_period_s=1)
    await child.runner.start()
    grandchild = int(await child.lines.get())
    await child.runner.stop()
    await ended(grandchild)


async def test_a_log_that_cannot_be_written_leaves_the_worker_running(tmp_path, caplog):
    (tmp_path / "logs").write_text("a file where the directory should be")
    child = Child("print('still here')", tmp_path)
    await child.runner.start()
    await child.until(WorkerState.STOPPED)
    assert child.runner.recent_output == ["still here"]
    assert "cannot be opened" in caplog.text


async def test_a_worker_that_stopped_can_be_stopped_again(tmp_path):
    child = Child("print('bye')", tmp_path)
    await child.runner.start()
    await child.until(WorkerState.STOPPED)
    await child.runner.stop()
    assert child.runner.state is WorkerState.STOPPED


RUNTIME = """
import asyncio, pathlib, sys
from dnworker import Runtime

async def main():
    async with Runtime(port=0) as runtime:
        await runtime.load(sys.argv[1])
        print(runtime.worker("relay").detail()["process"]["pid"], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

MANIFEST = """
schema: 1
name: demo
version: 0.1.0
description: A child with a grandchild
workers:
  relay:
    command: PYTHON
    args: ['${CAPABILITY_ROOT}/relay.py']
"""


@pytest.mark.clause("13.17")
def test_the_children_of_a_killed_runtime_end_within_six_seconds(tmp_path):
    (tmp_path / "capability.yaml").write_text(MANIFEST.replace("PYTHON", json.dumps(sys.executable)))
    (tmp_path / "relay.py").write_text(GRANDCHILD + "import signal; signal.pause()")
    env = {**os.environ, "HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", RUNTIME, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env
    ) as runtime:
        child = psutil.Process(int(runtime.stdout.readline()))
        while not (family := child.children()):
            pass
        runtime.send_signal(signal.SIGKILL)
        runtime.wait()
        _, alive = psutil.wait_procs([child, *family], timeout=60)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_group_that_ignores_sigterm_is_killed():
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        child.stdout.readline()
        end_groups({child.pid}, grace=0.1)
        assert child.wait() == -signal.SIGKILL


def test_a_guard_that_was_killed_is_replaced_and_told_everything():
    guard = Guard()
    with subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True
    ) as child:
        guard.watch(child.pid)
        guard._program.kill()
        guard._program.wait()
        guard.release(2**22 - 3)
        # A child that nobody waits for keeps its group, and the new guard would give it all of its grace.
        threading.Thread(target=child.wait, daemon=True).start()
        guard.close()  # as a death of this process would
        assert child.wait() == -signal.SIGTERM


@pytest.mark.parametrize("group", [2**22 - 3])
def test_a_group_that_is_gone_is_no_error(group):
    end_groups({group}, grace=0)


@pytest.mark.parametrize("program", ["uv", "uvx"])
async def test_uv_is_the_one_installed_with_us_where_the_path_has_none(tmp_path, program):
    env = {"PATH": "/nowhere", "HOME": str(tmp_path)}
    child = Child("", tmp_path, command=program, args=["--version"], env=env)
    await child.runner.start()
    await child.until(WorkerState.STOPPED)
    assert child.runner.recent_output[0].startswith(program)


async def test_any_other_program_is_searched_on_the_path_alone(tmp_path):
    child = Child("", tmp_path, command="python", env={"PATH": "/nowhere"})
    await child.runner.start()
    assert (
        await child.until(WorkerState.ERROR) == "spawn failed: [Errno 2] No such file or directory: 'python'"
    )


async def test_a_process_that_cannot_be_followed_is_killed_and_in_error(tmp_path, monkeypatch):
    async def refuse(*arguments):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "connect_read_pipe", refuse)
    child = Child("import time; time.sleep(600)", tmp_path)
    await child.runner.start()
    error = await child.until(WorkerState.ERROR)
    assert error == "its process could not be followed: [Errno 24] Too many open files"
    await ended(child.runner.pid)
