"""`SubprocessWorkerRunner`: runs one worker process: spawn, output, exit, stop (contract 3)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dnworker.core.lifecycle import SHUTDOWN_ERRORS, Lifecycle, WorkerState
from dnworker.workers import reports
from dnworker.workers.cgroups import Cgroups
from dnworker.workers.family import VARIABLE
from dnworker.workers.guard import Guard
from dnworker.workers.log_file import LogFile
from dnworker.workers.process_output import LineListener, ProcessOutput
from dnworker.workers.process_tree import ProcessTree
from dnworker.workers.reports import Notice, Report
from dnworker.workers.tasks import keep

log = logging.getLogger("dnworker.process")

DRAIN_GRACE = 1.0
"""Seconds after the child's exit in which what is left in its pipe is read; a grandchild may hold it open."""

LEFT_AT_EXIT = 4_000_000
"""Bytes that are read after the exit at most: more than pipes hold; a grandchild may print without end."""


class SubprocessWorkerRunner:
    """Owns one child process, and the processes that it starts.

    Args:
        command: the program; a bare name is searched on the PATH of `env`, a relative path with a slash is
            taken from `cwd`. Where the PATH has no `uv`, that is the one which was installed with dnworker.
        args: its arguments; no shell is involved.
        env: the whole environment of the child.
        cwd: its working directory.
        log_file: where its output goes, bytes as they are; whoever made it closes it.
        lifecycle: takes the steps of this run; must be in `loading` when `start` is called.
        on_line: called with every line of output, and whose it is.
        on_report: called with every report in the output, which is taken out of it.
        report_word: by which reports are known; without one there are none.
        grace_period_s: seconds between SIGTERM and SIGKILL.
        guard: ends the processes if this process dies.
        cgroups: make a cgroup for them, where that is possible.
        until: when the guard kills them unless `bound` puts that off, by `family.boot_time`; None for never.
        pass_fds: open files that the child gets beside its output.
    """

    DEFAULT_GRACE_PERIOD_S = 5.0
    OUTPUT_BUFFER_LINES = 200
    ERROR_TAIL_LINES = 20
    OUTPUT_ERROR_MARKER = "\n\nWorker output:\n"

    def __init__(
        self,
        command: str,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | os.PathLike[str],
        log_file: LogFile | None = None,
        lifecycle: Lifecycle | None = None,
        on_line: LineListener | None = None,
        on_report: Callable[[Report], None] | None = None,
        report_word: str | None = None,
        qualified_name: str | None = None,
        grace_period_s: float | None = None,
        guard: Guard | None = None,
        cgroups: Cgroups | None = None,
        until: float | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.lifecycle = lifecycle or Lifecycle()
        self.pid: int | None = None
        self._command = command
        self._args = list(args)
        self._env = dict(env)
        self._cwd = Path(cwd)
        self._on_line = on_line
        self._on_report = on_report
        self._report_word = report_word
        self._label = qualified_name or command
        self._grace = self.DEFAULT_GRACE_PERIOD_S if grace_period_s is None else grace_period_s
        self._guard = guard
        self._cgroups = cgroups
        self._until = until
        self._pass_fds = tuple(pass_fds)
        self._log_file = log_file
        self._ring: deque[str] = deque(maxlen=self.OUTPUT_BUFFER_LINES)
        self._child: asyncio.subprocess.Process | None = None
        self._tree: ProcessTree | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    @property
    def state(self) -> WorkerState:
        """The state that it is in."""
        return self.lifecycle.state

    @property
    def error(self) -> str | None:
        """Why it is in `error`, or what its shutdown handlers raised."""
        return self.lifecycle.error

    @property
    def recent_output(self) -> list[str]:
        """The last 200 lines that were not empty."""
        return list(self._ring)

    async def start(self) -> None:
        """Spawn the child; a failure to do so is state `error`, not an exception."""
        self.lifecycle.to(WorkerState.STARTING)
        self._ring.clear()
        if self._log_file is not None:
            self._log_file.begin()
        try:
            child, reading_end, tree = await self._spawn()
        except (OSError, ValueError) as exc:
            self._close_log()
            self.lifecycle.to(WorkerState.ERROR, f"spawn failed: {exc}")
            return
        self.pid, self._child, self._tree = child.pid, child, tree
        tree.begin(child.pid)
        follow = self._follow(child, tree, reading_end)
        # An empty context: its output is not that of the handler that may have asked for the restart.
        self._watch = keep(follow, f"{self._label} output", contextvars.Context())
        self.lifecycle.to(WorkerState.RUNNING)

    async def _spawn(self) -> tuple[asyncio.subprocess.Process, int, ProcessTree]:
        """Spawn the child; returns it, the end of the pipe to read, and what knows its processes.

        Raises:
            OSError, ValueError: it cannot be spawned.
        """
        program = self._program()
        # A pipe of our own: asyncio's wait() returns only when its pipes are closed, and a grandchild may
        # hold them open (before Python 3.12.4).
        reading_end, writing_end = os.pipe()
        tree = ProcessTree(self._label, self._guard, self._cgroups)
        if self._until is not None:
            tree.bound(self._until)
        try:
            child = await asyncio.create_subprocess_exec(
                program,
                *self._args,
                env={**self._env, VARIABLE: tree.run, **self._output(writing_end)},
                cwd=self._cwd,
                stdout=writing_end,
                stderr=writing_end,
                pass_fds=self._pass_fds,
                start_new_session=True,  # a group of its own: what it spawns can be ended with it
            )
        except BaseException:
            os.close(reading_end)
            await tree.forget()
            raise
        finally:
            os.close(writing_end)
        return child, reading_end, tree

    async def stop(self) -> None:
        """End the whole process group: SIGTERM, the grace, SIGKILL.

        May be called in any state, and by several: all wait for the same stop, which goes on when one of
        them is interrupted.
        """
        if self.state in (WorkerState.STOPPED, WorkerState.ERROR):
            if self._watch is not None:
                await asyncio.wait({self._watch})
            return
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(), name=f"{self._label} stop")
        await asyncio.shield(self._stopping)

    def hurry(self, seconds: float) -> None:
        """Let a stop, also one that is under way, take so many seconds at most."""
        self._grace = min(self._grace, seconds / 3)
        if self._stopping is not None:
            asyncio.get_running_loop().call_later(self._grace, self._signal, signal.SIGKILL)

    def bound(self, until: float) -> None:
        """Have the guard kill the process at `until`, by `family.boot_time`, also where we stand still."""
        self._until = until
        if self._tree is not None:
            self._tree.bound(until)

    async def _stop(self) -> None:
        self.lifecycle.to(WorkerState.STOPPING)
        if self._watch is not None:
            self._signal(signal.SIGTERM)
            await asyncio.wait({self._watch}, timeout=self._grace)
            if not self._watch.done():
                log.warning("%s did not end within %g s of SIGTERM; killing it", self._label, self._grace)
                self._signal(signal.SIGKILL)
                await asyncio.wait({self._watch})
        self.lifecycle.to(WorkerState.STOPPED, self._shutdown_errors())

    # -- the child -------------------------------------------------------------------------------------

    async def _follow(self, child: asyncio.subprocess.Process, tree: ProcessTree, pipe: int) -> None:
        """Follow the child to its end; where that fails, as without free descriptors, the child is killed."""
        try:
            await self._follow_to_end(child, tree, pipe)
        except Exception as exc:
            log.exception("%s: its process cannot be followed; it is killed", self._label)
            tree.signal(signal.SIGKILL)
            self._close_log()
            if self.state is not WorkerState.STOPPING:
                self.lifecycle.to(WorkerState.ERROR, f"its process could not be followed: {exc}")

    async def _follow_to_end(self, child: asyncio.subprocess.Process, tree: ProcessTree, pipe: int) -> None:
        """Read output until the child has exited, then end what it left behind and note its exit."""
        stream, opened = asyncio.StreamReader(), os.fdopen(pipe, "rb", buffering=0)
        try:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), opened
            )
        except BaseException:
            opened.close()
            raise
        output = ProcessOutput(
            self._ring,
            log_file=self._log_file,
            on_line=self._on_line,
            on_report=self._on_report,
            report_word=self._report_word,
        )
        reading = keep(output.read(stream), f"{self._label} reader")
        code = await self._exit(child, output, reading)
        # Order matters: what is in the pipe first, then the grandchildren that may be holding it open.
        await asyncio.wait({reading}, timeout=0 if tree.group_is_empty else DRAIN_GRACE)
        await tree.end(0.5 if self.state is not WorkerState.STOPPING else self._grace)
        await _drain(output, reading)
        transport.close()
        reading.cancel()
        await asyncio.wait({reading})
        if not reading.cancelled() and (failure := reading.exception()) is not None:
            log.error("%s: its output could not be read to the end", self._label, exc_info=failure)
        output.end()
        self._close_log()
        await tree.forget()
        if self.state is WorkerState.STOPPING:
            return
        if code == 0:
            self.lifecycle.to(WorkerState.STOPPED, self._shutdown_errors(), reason="Exited with code 0")
        else:
            self.lifecycle.to(WorkerState.ERROR, self._exit_text(code))

    async def _exit(
        self, child: asyncio.subprocess.Process, output: ProcessOutput, reading: asyncio.Task[None]
    ) -> int:
        """Wait for the exit; a process that reported and whose output ends earlier reports no more."""
        exiting = asyncio.ensure_future(child.wait())
        try:
            await asyncio.wait({exiting, reading}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({exiting}, timeout=DRAIN_GRACE)  # it may be known a little later
            is_early = not exiting.done() and self.state is WorkerState.RUNNING
            if is_early and output.has_reports and self._on_report is not None:
                self._on_report(Notice("its output was redirected", is_over=True))
            return await exiting
        finally:
            exiting.cancel()

    def _output(self, writing_end: int) -> dict[str, str]:
        return {} if self._report_word is None else {reports.OUTPUT: reports.identity(writing_end)}

    def _exit_text(self, code: int) -> str:
        text = f"exited with code {code}"
        if self._ring:
            tail = list(self._ring)[-self.ERROR_TAIL_LINES :]
            text += self.OUTPUT_ERROR_MARKER + "\n".join(tail)
        return text

    def _shutdown_errors(self) -> str | None:
        """Return the shutdown errors that a worker of ours printed last (contract 11.5)."""
        last = self._ring[-1] if self._ring else ""
        return last if last.startswith(SHUTDOWN_ERRORS) else None

    def _signal(self, number: int) -> bool:
        """Signal the child's group; returns whether there is one."""
        return self._tree is not None and self._tree.signal(number)

    def _program(self) -> str:
        if "/" not in self._command:
            found = shutil.which(self._command, path=self._env.get("PATH", os.defpath))
            if found is None and self._command in ("uv", "uvx"):
                found = _installed_with_us(self._command)
            if found is None:
                raise FileNotFoundError(2, "No such file or directory", self._command)
            return found
        return str(self._cwd / self._command)

    def _close_log(self) -> None:
        if self._log_file is not None:
            self._log_file.end()


async def _drain(output: ProcessOutput, reading: asyncio.Task[None]) -> None:
    """Wait until what is left in the pipe was read, or nothing comes for a second from who holds it open."""
    at_exit, before = output.taken, -1
    while not reading.done() and before < output.taken < at_exit + LEFT_AT_EXIT:
        before = output.taken
        await asyncio.wait({reading}, timeout=DRAIN_GRACE)


def _installed_with_us(name: str) -> str | None:
    """Return uv's program of this name that was installed with us, for machines whose PATH has none."""
    try:
        from uv import find_uv_bin

        return shutil.which(Path(find_uv_bin()).with_name(name))
    except (ImportError, FileNotFoundError):
        return None


async def end_at_once(process: asyncio.subprocess.Process) -> None:
    """Kill a process that leads its group, and the group; wait for nothing that others may hold open.

    A grandchild with a session of its own survives, and may hold the pipes; before Python 3.12.4 `wait` would
    wait for it.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await process.wait()
    process._transport.close()  # type: ignore[attr-defined]  # there is no public way to let go of the pipes
