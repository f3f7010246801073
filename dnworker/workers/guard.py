"""`Guard`: ends worker processes when their runtime is gone, even after SIGKILL of the runtime.

It is the runtime's side. The other side is `family.py` run as a program: it holds the reading end of a pipe,
on which the runtime names the processes that it owns. When the runtime dies, the program sends SIGTERM, waits
5 s, and sends SIGKILL (contract 13.17). When the program dies, another one is started and told everything.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dnworker.workers import family
from dnworker.workers.family import GRACE, VARIABLE, Family

log = logging.getLogger("dnworker.guard")

STARTS = 5
STARTS_SECONDS = 10.0
"""A program that was started so often within so many seconds is started again only after a while."""

PAUSE = 2.0
"""That while, in seconds."""

END_WITHIN = GRACE + 1
"""Seconds that the end of a program is waited for; it ends by itself, whether it is waited for or not."""

PIPE_BYTES = 1_000_000
"""Wanted of the pipe, so that a new program can be told of thousands of processes before it runs."""


class Guard:
    """Watches the processes of workers on behalf of this process; starts its program with the first."""

    def __init__(self) -> None:
        self._program: subprocess.Popen[bytes] | None = None
        self._families: dict[str, Family] = {}
        self._bounds: dict[str, float] = {}
        """When runs are to be killed, by `family.boot_time`."""
        self._left: dict[str, Family] = {}
        """What a program that was told to end is ending."""
        self._is_closed = False
        self._pipe: int | None = None
        self._unsent = b""
        self._starts: deque[float] = deque(maxlen=STARTS)
        self._given_up_said = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: int | None = None
        self._later: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The process of the program; None while there is none."""
        return None if self._program is None else self._program.pid

    def expect(self, run: str, cgroup: str | None = None) -> None:
        """Watch a run whose process is about to be spawned: its environment will name the run."""
        self._is_closed = False
        self._note(run, Family(run=run, cgroup=cgroup))

    def watch(self, group: int, *, run: str | None = None, cgroup: str | None = None) -> None:
        """End `group`, and the other processes of `run`, when this process is gone."""
        if run is None:
            self._is_closed = False
        self._note(run or f"group {group}", Family(group, family.start_time(group), run, cgroup))

    def release(self, group: int) -> None:
        """Forget a group that was watched without a run: it has ended."""
        self.forget(f"group {group}")

    def forget(self, run: str) -> None:
        """Forget a run: all its processes have ended, or none could be spawned."""
        self._families.pop(run, None)
        self._bounds.pop(run, None)
        self._say(_line(run, None))

    def bound(self, run: str, until: float) -> None:
        """Kill a run that is watched at `until`, in seconds of `family.boot_time`, unless that is put off.

        The program does it, also while this process is stopped, or its loop is blocked.
        """
        if run in self._families:
            self._bounds[run] = until
            self._say(_bound_line(run, until))

    def kill(self) -> None:
        """Kill every watched group and cgroup at once; may be called on any thread.

        What has left its group, and has no cgroup, is ended by the program when this process is gone.
        """
        for known in [*self._families.values(), *self._left.values()]:
            family.signal_group(known, signal.SIGKILL)
            family.kill_cgroup(known.cgroup)

    async def aclose(self) -> None:
        """End the program; what is still watched is ended by it, for which it is waited.

        It starts again only for a process that is spawned after this.
        """
        program = self._tell_to_end()
        if program is not None:
            await _until_ended(program, END_WITHIN)
        self._left.clear()

    def close(self) -> None:
        """Do the same where no loop runs any more: this blocks for `END_WITHIN` seconds at most."""
        program = self._tell_to_end()
        if program is not None:
            with suppress(subprocess.TimeoutExpired):
                program.wait(END_WITHIN)
        self._left.clear()

    def _tell_to_end(self) -> subprocess.Popen[bytes] | None:
        """Tell the program to end, by its pipe, and return it; None if there is none."""
        self._is_closed = True
        if self._program is not None and self._program.poll() is not None:
            self._restart()  # it has just died, and did not end what is left
        program, self._program = self._program, None
        self._left |= self._families
        self._families.clear()
        self._bounds.clear()
        self._let_go()
        if program is not None:
            with suppress(OSError):
                program.send_signal(signal.SIGCONT)  # one that was stopped would not notice
        return program

    # -- what it is told -------------------------------------------------------------------------------

    def _note(self, key: str, known: Family) -> None:
        self._families[key] = known
        self._say(_line(key, known))

    def _say(self, line: bytes) -> None:
        """Tell the program, which is started, or started again, where it does not run; never waits."""
        if self._is_closed:
            return
        if self._program is None or self._program.poll() is not None:
            self._restart()
            return
        if _is_stopped(self._program.pid):
            self._program.send_signal(signal.SIGCONT)
        self._unsent += line
        self._send()

    def _send(self) -> None:
        if self._pipe is None or not self._unsent:
            return
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._pipe, self._unsent[:4096]) :]
        except BlockingIOError:  # it does not read now
            self._retry(0.1, self._send)
        except OSError:
            log.debug("the guard has just ended; starting another")
            self._restart()

    def _retry(self, seconds: float, what: Callable[[], None]) -> None:
        if self._later is not None:
            self._later.cancel()
        with suppress(RuntimeError):  # without a loop, the next message tries again
            self._later = asyncio.get_running_loop().call_later(seconds, what)

    # -- the program -----------------------------------------------------------------------------------

    def _restart(self) -> None:
        """Start the program, and tell it everything; and where it keeps ending, only now and then."""
        program, self._program = self._program, None
        if program is not None and program.poll() is None:
            program.kill()  # before its pipe is closed, which it would take for our end
            program.wait()
        self._let_go()
        if not self._families:
            return
        now = time.monotonic()
        if len(self._starts) == STARTS and now - self._starts[0] < STARTS_SECONDS:
            if not self._given_up_said:
                self._given_up_said = True
                log.error(
                    "the guard of worker processes was started %d times within %g s, and ended each time; "
                    "while there is none, workers would outlive a runtime that is killed",
                    STARTS,
                    STARTS_SECONDS,
                )
            self._retry(PAUSE, self._restart)
            return
        self._starts.append(now)
        self._given_up_said = False
        try:
            self._start()
        except OSError as exc:
            log.error("the guard of worker processes cannot be started: %s", exc)
            self._let_go()
            self._retry(1.0, self._restart)

    def _start(self) -> None:
        reading, self._pipe = os.pipe()
        try:
            os.set_blocking(self._pipe, False)
            if hasattr(fcntl, "F_SETPIPE_SZ"):
                with suppress(OSError):
                    fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self._unsent = b"".join(_line(key, known) for key, known in self._families.items())
            self._unsent += b"".join(_bound_line(run, until) for run, until in self._bounds.items())
            with suppress(BlockingIOError):  # before it runs: should this process be killed now, it knows
                self._unsent = self._unsent[os.write(self._pipe, self._unsent) :]
            # A session of its own: Ctrl-C in the terminal of the runtime must not reach it. And no run of a
            # worker: where this runtime is within one, its end must leave time to end the workers here.
            # Signals that it ignores later are blocked, for it is deaf to nothing before it runs.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, family.IGNORED)
            try:
                self._program = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(Path(family.__file__)), str(os.getpid())],
                    stdin=reading,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={key: value for key, value in os.environ.items() if key != VARIABLE},
                    start_new_session=True,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        finally:
            os.close(reading)
        self._listen(self._program.pid)
        self._send()

    def _listen(self, pid: int) -> None:
        """Hear of the program's end where the kernel tells (Linux); else the next message does."""
        with suppress(RuntimeError, OSError, AttributeError, NotImplementedError):
            self._loop = asyncio.get_running_loop()
            self._handle = os.pidfd_open(pid)
            self._loop.add_reader(self._handle, self._ended)

    def _ended(self) -> None:
        log.debug("the guard of worker processes has ended; starting another")
        if self._program is not None:
            self._program.poll()
        self._restart()

    def _let_go(self) -> None:
        """Let go of what belongs to the present program."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        handle, self._handle = self._handle, None
        if handle is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(handle)
            os.close(handle)
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)
        self._unsent = b""


async def _until_ended(program: subprocess.Popen[bytes], seconds: float) -> None:
    """Return when a program has ended, or the time is up; the loop goes on meanwhile."""
    ended, loop, handle = asyncio.Event(), asyncio.get_running_loop(), -1
    look_again = 0.05  # where the kernel does not tell
    with suppress(OSError, AttributeError, NotImplementedError):
        handle = os.pidfd_open(program.pid)
        loop.add_reader(handle, ended.set)
        look_again = seconds
    try:
        async with asyncio.timeout(seconds):
            while program.poll() is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), look_again)
    except TimeoutError:
        log.warning("the guard of worker processes still ends what they have left; it goes on by itself")
    finally:
        if handle >= 0:
            with suppress(NotImplementedError):
                loop.remove_reader(handle)
            os.close(handle)


def _line(key: str, known: Family | None) -> bytes:
    fields = [] if known is None else [known.group, known.started, known.run, known.cgroup]
    return json.dumps([key, *fields]).encode() + b"\n"


def _bound_line(run: str, until: float) -> bytes:
    return json.dumps([run, until]).encode() + b"\n"


def _is_stopped(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] == "T"


def end_groups(groups: set[int], grace: float = GRACE) -> None:
    """Send SIGTERM to process groups, and SIGKILL to those that are left after `grace` seconds."""
    family.end_families([Family(group) for group in groups], grace)
