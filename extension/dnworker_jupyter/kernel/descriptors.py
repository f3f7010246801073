"""`Descriptors`: finds out whose text is written to the file descriptors 1 and 2; used by `output`.

ipykernel reads both on threads of its own and prints what it reads, into the newest cell. A handler's
`os.write` is taken at once. Nobody says whose the text is that C code writes: it goes to the one handler that
can have done so, to the cell where that may have, and else to the log of the runtime, which says who ran
meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.text import LineSplitter
from dnworker.engine.engine import Engine
from dnworker_jupyter.kernel import redirects
from dnworker_jupyter.kernel.child_output import DESCRIPTORS, in_child, is_inherited
from dnworker_jupyter.kernel.patching import replace

LATE_SECONDS = 0.2
"""What a thread reads within these after a handler has ended may be that handler's."""

RUNTIME = "runtime"
"""The name under which the log has what is no one worker's."""

_NAMES = {number: name for name, number in DESCRIPTORS.items()}


class Descriptors:
    """Who may write to the descriptors of one kernel.

    Args:
        engine: whose handlers write.
        shell: whose cells write.
        take: gets the invocation, the name of the stream and the text that is its.
    """

    def __init__(self, engine: Engine, shell: Any, take: Callable[[Invocation, str, str], None]) -> None:
        self._engine = engine
        self._shell = shell
        self._take = take
        self._lines = LineSplitter()
        self._watchers: set[int] = set()
        self._running: dict[int, Invocation] = {}
        self._ended: tuple[Invocation, float] | None = None
        self._cell_since: float | None = None
        self._of_cells: weakref.WeakSet[subprocess.Popen[Any]] = weakref.WeakSet()

    def install(self) -> list[Callable[[], None]]:
        """Watch from now on; returns what ends that."""
        kernel = getattr(self._shell, "kernel", None)
        streams = redirects.own_streams(kernel)
        threads = [getattr(stream, "watch_fd_thread", None) for _, stream in streams]
        self._watchers = {thread.ident for thread in threads if thread is not None}
        undo = [replace(os, "write", self._writing)]
        if not self._watchers:
            return undo
        undo.append(replace(subprocess.Popen, "__init__", self._spawning))
        events = self._shell.events
        for name, hook in (("pre_execute", self._begin_cell), ("post_execute", self._end_cell)):
            events.register(name, hook)
            undo.append(lambda name=name, hook=hook: events.unregister(name, hook))  # type: ignore[misc]
        return undo

    def _begin_cell(self) -> None:
        self._cell_since = time.monotonic()

    def _end_cell(self) -> None:
        self._cell_since = None

    def follow(self, invocation: Invocation) -> None:
        """Note that an invocation has begun or ended."""
        if not self._watchers or invocation.remote_id is not None or invocation.cause == "turn":
            return
        if invocation.outcome == "running":
            self._running[invocation.number] = invocation
        elif self._running.pop(invocation.number, None) is not None:
            self._ended = (invocation, time.monotonic())

    def take(self, name: str, text: str) -> bool:
        """Take what the descriptors' own threads print, if it is no cell's."""
        if threading.get_ident() not in self._watchers:
            return False
        candidates = self._candidates()
        if not candidates:
            return False
        if len(candidates) == 1:
            self._take(candidates[0], name, text)
            return True
        for line in self._lines.add(name, text, is_last=text.endswith("\n")):
            who = ", ".join(sorted({one.label for one in candidates}))
            note = f"{line} [written to file descriptor {DESCRIPTORS[name]} while these ran: {who}]"
            self._engine.log_line(RUNTIME, note, source=name)
        return True

    def _candidates(self) -> list[Invocation]:
        """Return the invocations one of which has written; none where it was a cell."""
        if any(map(_is_running, list(self._of_cells))):
            return []
        running = list(self._running.values())
        if self._ended is not None and time.monotonic() - self._ended[1] < LATE_SECONDS:
            running.append(self._ended[0])
        since = self._cell_since
        if since is not None:  # a cell that runs has not written where handlers began that it waits for
            return [one for one in running if one.cause != "task" and one.started_at >= since]
        return [one for one in running if one.cause != "task"] or running

    def _writing(self, original: Any) -> Any:
        def write(descriptor: int, data: Any, /) -> int:
            name = _NAMES.get(descriptor)
            if name is None or (invocation := current_invocation.get()) is None or in_child():
                written: int = original(descriptor, data)
                return written
            taken = bytes(data)
            self._take(invocation, name, taken.decode("utf-8", "replace"))
            return len(taken)

        return write

    def _spawning(self, original: Any) -> Any:
        def init(popen: Any, args: Any, *others: Any, **fields: Any) -> None:
            original(popen, args, *others, **fields)
            handles = [fields.get("stdout", others[3] if len(others) > 3 else None)]
            handles.append(fields.get("stderr", others[4] if len(others) > 4 else None))
            if current_invocation.get() is None and any(map(is_inherited, handles)):
                self._of_cells.add(popen)

        return init


def _is_running(process: subprocess.Popen[Any]) -> bool:
    """Return whether a process runs, and leave its exit status to who waits for it, such as asyncio."""
    if process.returncode is not None:
        return False
    if os.name == "nt":  # a look takes nothing away there
        return process.poll() is None
    if (waitid := getattr(os, "waitid", None)) is None:  # macOS before Python 3.13
        return True  # its end is known once somebody has waited for it
    try:
        return waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
