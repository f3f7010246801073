"""`HostProcess`: the child process that connects to one MCP server for us; for `connection`.

The child has the official library, whose import takes seconds; this process never imports it. The child,
the server and what that starts are one process tree, which ends with this process, also where it is killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from dnworker.core.lifecycle import Lifecycle, WorkerState
from dnworker.mcp_client import frames
from dnworker.mcp_client.frames import MISSING, Close, Message, Request
from dnworker.mcp_client.settings import CannotConnect
from dnworker.workers.cgroups import Cgroups
from dnworker.workers.guard import Guard
from dnworker.workers.runner import to_its_end
from dnworker.workers.subprocess_runner import SubprocessWorkerRunner

log = logging.getLogger("dnworker.mcp")

CLOSE_SECONDS = 6.0
"""Seconds in which the host ends the server by the protocol, before its process tree is ended."""

GRACE_SECONDS = 2.0
"""Seconds between SIGTERM and SIGKILL then."""

MODULE = "dnworker.mcp_client.host"

_PRIVATE = ("DREADNODE_RUNTIME_TOKEN", "DREADNODE_RUNTIME_TOKEN_FILE", "SANDBOX_AUTH_TOKEN", "DNWORKER_RUN")
"""Variables of ours that the host has no use for."""


class HostProcess:
    """One run of the host.

    Args:
        label: names the server in the log.
        guard: ends the process tree if this process dies.
        cgroups: make a cgroup for it, where that is possible.
        on_line: called with each line that the host and the server print.
    """

    def __init__(
        self, label: str, guard: Guard | None, cgroups: Cgroups | None, on_line: Callable[[str], None]
    ) -> None:
        self._label = label
        self._guard = guard
        self._cgroups = cgroups
        self._on_line = on_line
        self._lifecycle = Lifecycle()
        self._has_ended = asyncio.Event()
        self._runner: SubprocessWorkerRunner | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def pid(self) -> int | None:
        """Its process; None before it is started."""
        return None if self._runner is None else self._runner.pid

    async def start(self) -> None:
        """Start it.

        Raises:
            CannotConnect: the extra is not installed, or no process can be started.
        """
        if find_spec("mcp") is None:
            raise CannotConnect(MISSING)
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            self._reader, self._writer = await asyncio.open_unix_connection(sock=ours)
            self._runner = self._make_runner(theirs.fileno())
            self._lifecycle.listen(self._moved)
            await to_its_end(self._runner.start())  # an interrupted spawn would leave a process
        except OSError as exc:
            raise CannotConnect(f"its host cannot be started: {exc}") from exc
        finally:
            theirs.close()
            if self._writer is None:
                ours.close()
        if self._lifecycle.state is WorkerState.ERROR:
            raise CannotConnect(f"its host cannot be started: {self._lifecycle.error}")

    def _make_runner(self, descriptor: int) -> SubprocessWorkerRunner:
        home = str(Path(frames.__file__).parents[2])
        env = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [home, env.get("PYTHONPATH")]))
        return SubprocessWorkerRunner(
            sys.executable,
            ["-u", "-m", MODULE, str(descriptor)],
            env=env,
            cwd="/",  # python looks for modules there first: a capability's directory may have a mcp.py
            lifecycle=self._lifecycle,
            on_line=lambda text, _: self._on_line(text),
            qualified_name=f"mcp server {self._label}",
            grace_period_s=GRACE_SECONDS,
            guard=self._guard,
            cgroups=self._cgroups,
            pass_fds=[descriptor],
        )

    def _moved(self, state: WorkerState, error: str | None) -> None:
        del error
        if state in (WorkerState.ERROR, WorkerState.STOPPED):
            self._has_ended.set()

    async def send(self, request: Request) -> None:
        """Send a request and wait while the host does not read.

        Raises:
            ConnectionError: the host is gone.
        """
        assert self._writer is not None
        self._writer.write(frames.encode(request))
        await self._writer.drain()

    def send_soon(self, request: Request) -> None:
        """Send a request without waiting; nothing happens where the host is gone."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frames.encode(request))

    async def next(self) -> Message | None:
        """Return the next message; None once the host is gone.

        Raises:
            BadFrame: what came is none.
        """
        assert self._reader is not None
        message: Message | None = await frames.read(self._reader, Message)
        return message

    async def ended(self) -> str | None:
        """Wait for the end of the process; returns why it failed, None if it did not."""
        await self._has_ended.wait()
        return self._lifecycle.error

    async def stop(self) -> None:
        """End the server by the protocol, then whatever is left of the process tree."""
        try:
            if self._runner is not None:
                await self._end(self._runner)
        finally:
            if self._writer is not None:
                self._writer.close()

    async def _end(self, runner: SubprocessWorkerRunner) -> None:
        self.send_soon(Close())
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._has_ended.wait()
        except TimeoutError:
            log.info("MCP server %s does not end by itself; it is ended", self._label)
        finally:
            await runner.stop()


def recent() -> deque[str]:
    """Return a place for the last lines of a log, as many as the reference keeps."""
    return deque(maxlen=50)
