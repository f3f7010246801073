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
from typing import IO

from dnworker.core.lifecycle import SHUTDOWN_ERRORS, Lifecycle, WorkerState
from dnworker.workers.guard import Guard
from dnworker.workers.reports import Report, ReportReader, Says
from dnworker.workers.tasks import keep

log = logging.getLogger("dnworker.process")

DRAIN_GRACE = 1.0
"""Seconds after the child's exit in which what is left in its pipe is read; a grandchild may hold it open."""

LONGEST_LINE = 65_536
"""Characters of one line kept in memory; the log file has every byte."""

LineListener = Callable[[str, Says], None]


class SubprocessWorkerRunner:
    """Owns one child process and its process group.

    Args:
        command: the program; a bare name is searched on the PATH of `env`, a relative path with a slash is
            taken from `cwd`. Where the PATH has no `uv`, that is the one which was installed with dnworker.
        args: its arguments; no shell is involved.
        env: the whole environment of the child.
        cwd: its working directory.
        log_path: where its output goes, bytes as they are; the file of the run before is kept as `.prev`.
        lifecycle: takes the steps of this run; must be in `loading` when `start` is called.
        on_line: called with every line of output, and whose it is.
        on_report: called with every report in the output, which is taken out of it.
        report_word: by which reports are known; without one there are none.
        grace_period_s: seconds between SIGTERM and SIGKILL.
        guard: ends the group if this process dies.
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
        log_path: Path | None = None,
        lifecycle: Lifecycle | None = None,
        on_line: LineListener | None = None,
        on_report: Callable[[Report], None] | None = None,
        report_word: str | None = None,
        qualified_name: str | None = None,
        grace_period_s: float | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.lifecycle = lifecycle or Lifecycle()
        self.pid: int | None = None
        self.log_path = log_path
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
        self._ring: deque[str] = deque(maxlen=self.OUTPUT_BUFFER_LINES)
        self._child: asyncio.subprocess.Process | None = None
        self._log_file: IO[bytes] | None = None
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
        self._open_log()
        # A pipe of our own: asyncio's wait() returns only when its pipes are closed, and a grandchild may
        # hold them open (before Python 3.12.4).
        reading_end, writing_end = os.pipe()
        try:
            self._child = await asyncio.create_subprocess_exec(
                self._program(),
                *self._args,
                env=self._env,
                cwd=self._cwd,
                stdout=writing_end,
                stderr=writing_end,
                start_new_session=True,  # a group of its own: what it spawns can be ended with it
            )
        except (OSError, ValueError) as exc:
            os.close(reading_end)
            self._close_log()
            self.lifecycle.to(WorkerState.ERROR, f"spawn failed: {exc}")
            return
        finally:
            os.close(writing_end)
        self.pid = self._child.pid
        if self._guard is not None:
            self._guard.watch(self.pid)
        follow = self._follow(self._child, reading_end)
        # An empty context: its output is not that of the handler that may have asked for the restart.
        self._watch = keep(follow, f"{self._label} output", contextvars.Context())
        self.lifecycle.to(WorkerState.RUNNING)

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

    async def _stop(self) -> None:
        self.lifecycle.to(WorkerState.STOPPING)
        if self._child is not None and self._watch is not None:
            self._signal(signal.SIGTERM)
            await asyncio.wait({self._watch}, timeout=self._grace)
            if not self._watch.done():
                log.warning("%s did not end within %g s of SIGTERM; killing it", self._label, self._grace)
                self._signal(signal.SIGKILL)
                await asyncio.wait({self._watch})
        self.lifecycle.to(WorkerState.STOPPED, self._shutdown_errors())

    # -- the child -------------------------------------------------------------------------------------

    async def _follow(self, child: asyncio.subprocess.Process, pipe: int) -> None:
        """Read output until the child has exited, then end what it left behind and note its exit."""
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(pipe, "rb", buffering=0)
        )
        reading = keep(self._read(stream), f"{self._label} reader")
        code = await child.wait()
        # Order matters: what is in the pipe first, then the grandchildren that may be holding it open.
        await asyncio.wait({reading}, timeout=0 if self._group_is_empty() else DRAIN_GRACE)
        await self._end_group()
        await asyncio.wait({reading}, timeout=DRAIN_GRACE)
        transport.close()
        reading.cancel()
        await asyncio.wait({reading})
        self._close_log()
        if self._guard is not None and self.pid is not None:
            self._guard.release(self.pid)
        if self.state is WorkerState.STOPPING:
            return
        if code == 0:
            self.lifecycle.to(WorkerState.STOPPED, self._shutdown_errors())
        else:
            self.lifecycle.to(WorkerState.ERROR, self._exit_text(code))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        reader = ReportReader(self._report_word) if self._report_word is not None else None
        says, rest = Says(), b""
        while chunk := await stream.read(65_536):
            for piece in (chunk,) if reader is None else reader.feed(chunk):
                if isinstance(piece, bytes):
                    rest = self._take_text(rest, piece, says)
                elif isinstance(piece, Says):
                    says = piece
                elif self._on_report is not None:
                    self._on_report(piece)
        if reader is not None:
            rest = self._take_text(rest, reader.rest(), says)
        self._keep(rest, says)

    def _take_text(self, rest: bytes, text: bytes, says: Says) -> bytes:
        """Write output to the log and keep its whole lines; returns the line that has not ended."""
        if self._log_file is not None:
            try:
                self._log_file.write(text)
                self._log_file.flush()
            except OSError as exc:  # a full disk: the worker runs on, and memory still has the tail
                log.warning("%s: its log %s cannot be written: %s", self._label, self.log_path, exc)
                self._close_log()
        *lines, rest = (rest + text).split(b"\n")
        for line in lines:
            self._keep(line, says)
        return rest[: 4 * LONGEST_LINE]  # of a line without end the head is kept, and the rest is not

    def _keep(self, line: bytes, says: Says) -> None:
        text = line.decode(errors="replace").rstrip("\r\n")
        if not text:
            return
        if len(text) > LONGEST_LINE:
            text = f"{text[:LONGEST_LINE]} [cut; the whole line is in {self.log_path}]"
        self._ring.append(text)
        if self._on_line is not None:
            self._on_line(text, says)

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

    async def _end_group(self) -> None:
        if self._group_is_empty():
            return
        self._signal(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (0.5 if self.state is not WorkerState.STOPPING else self._grace)
        while not self._group_is_empty() and loop.time() < deadline:  # noqa: ASYNC110  there is no signal for it
            await asyncio.sleep(0.02)  # grandchildren are not ours to wait for
        self._signal(signal.SIGKILL)

    def _group_is_empty(self) -> bool:
        return not self._signal(0)

    def _signal(self, number: int) -> bool:
        if self.pid is None:
            return False
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _program(self) -> str:
        if "/" not in self._command:
            found = shutil.which(self._command, path=self._env.get("PATH", os.defpath))
            if found is None and self._command in ("uv", "uvx"):
                found = _installed_with_us(self._command)
            if found is None:
                raise FileNotFoundError(2, "No such file or directory", self._command)
            return found
        return str(self._cwd / self._command)

    # -- log file --------------------------------------------------------------------------------------

    def _open_log(self) -> None:
        if self.log_path is None:
            return
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            if self.log_path.exists():
                with suppress(OSError):
                    self.log_path.replace(self.log_path.with_name(self.log_path.name + ".prev"))
            self._log_file = self.log_path.open("wb")
        except OSError as exc:
            log.warning("%s: its log %s cannot be opened: %s", self._label, self.log_path, exc)

    def _close_log(self) -> None:
        if self._log_file is not None:
            with suppress(OSError):
                self._log_file.close()
            self._log_file = None


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
