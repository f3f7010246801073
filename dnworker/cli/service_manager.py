"""`ServiceManager`: tells the service manager how `serve` is, by sd_notify: READY=1, STATUS=, WATCHDOG=1.

systemd names a socket in `NOTIFY_SOCKET`; without it every call does nothing. See decision 0053.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING

from dnworker.cli.text import printable
from dnworker.core.lifecycle import WorkerState

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

log = logging.getLogger("dnworker.serve")

STATUS_APART = 1.0
"""Seconds between two lines of status at least."""

LONGEST_STATUS = 500
"""Characters of a line of status."""

EXTEND_EVERY, EXTEND_BY = 5.0, 30.0
"""Seconds between two requests for more time to start, and how much each asks for from then on."""

EXTEND_FOR = 900.0
"""Seconds of a start after which no more time is asked for: something hangs."""

SEND_WITHIN = 1.0
"""Seconds that a message other than a ping or a status waits for room."""

NAMED = 3
"""Workers that the status names."""

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """The service manager that started this process; every method may be called on any thread.

    Args:
        address: of its socket, a path or `@` and an abstract name; None where there is none.
        watchdog: seconds after which it restarts a process that has not pinged it; None where it does not.
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = address
        self._watchdog = watchdog
        self._has_failed = False
        self._told = ""
        self._pinged = 0.0
        self._phase = "starting"

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Return that of an environment, and remove it there: workers cannot speak for the runtime then."""
        taken = {name: environ.pop(name, "") for name in VARIABLES}
        address = taken["NOTIFY_SOCKET"]
        if not address:
            return cls()
        if address[0] not in "/@" or len(address) < 2:
            log.warning("NOTIFY_SOCKET is %r, which is neither a path nor an abstract name", address)
            return cls()
        is_ours = taken["WATCHDOG_PID"] in ("", str(os.getpid()))
        micros = taken["WATCHDOG_USEC"]
        if micros and not (micros.isascii() and micros.isdecimal() and int(micros)):
            log.warning("WATCHDOG_USEC is %r, no number of microseconds; nothing is pinged", micros)
            micros = ""
        return cls(address, int(micros) / 1e6 if micros and is_ours else None)

    @property
    def is_there(self) -> bool:
        """Whether anybody hears what is said."""
        return self._address is not None

    # -- what is said ----------------------------------------------------------------------------------

    def ready(self) -> None:
        """Say that everything is loaded, or that a reload is over."""
        self._phase = ""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that a reload begins; `ready` must follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, within: float) -> None:
        """Say that it ends, and ask for so many seconds; a shorter `TimeoutStopSec` gives way to that."""
        if self._phase == "stopping":
            return
        self._phase = "stopping"
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(within * 1e6)}")

    def status(self, text: str) -> None:
        """Say in one line how it is; the same line is said once."""
        line = " ".join(printable(text).split())[:LONGEST_STATUS]
        if line != self._told and self._send(f"STATUS={line}", waits=False):
            self._told = line

    def extend(self, seconds: float) -> None:
        """Ask for so many seconds more for what is under way."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", waits=False)

    def ping(self) -> None:
        """Say that the loop turns, or that a debugger holds it, unless that was said just now."""
        if self._watchdog is not None and (now := time.monotonic()) - self._pinged >= self._watchdog / 4:
            self._pinged = now
            self._send("WATCHDOG=1", waits=False)

    def _send(self, message: str, *, waits: bool = True) -> bool:
        """Send a datagram; returns whether it was. One that cannot be sent is logged once."""
        if self._address is None:
            return False
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
                one.settimeout(SEND_WITHIN if waits else 0)
                one.sendto(message.encode(), address)
        except OSError as exc:
            if not self._has_failed:
                self._has_failed = True
                why = exc.strerror or exc
                log.warning("the service manager cannot be told %s: %s", message.partition("=")[0], why)
            return False
        self._has_failed = False
        return True

    # -- while it runs ---------------------------------------------------------------------------------

    async def keep(self, engine: Engine) -> None:
        """Ping the watchdog from this loop, and say how the runtime is whenever that changes."""
        if not self.is_there:
            return
        jobs = [self._keep_saying(lambda: status_of(engine, self._phase)), self._keep_extending()]
        if self._watchdog is not None:
            jobs.append(self._keep_pinging(self._watchdog / 2))
        await asyncio.gather(*jobs)

    async def _keep_pinging(self, apart: float) -> None:
        while True:
            self.ping()
            await asyncio.sleep(apart)

    async def _keep_saying(self, text: Callable[[], str]) -> None:
        while True:
            with suppress(RuntimeError):  # what is counted changes at the moment
                self.status(text())
            await asyncio.sleep(STATUS_APART)

    async def _keep_extending(self) -> None:
        until = time.monotonic() + EXTEND_FOR
        while self._phase == "starting" and time.monotonic() < until:
            self.extend(EXTEND_BY)
            await asyncio.sleep(EXTEND_EVERY)


def status_of(engine: Engine, phase: str = "") -> str:
    """Return how a runtime is, as in `12 workers run, 1 in error: shop:billing; 3 events wait`."""
    by_state: dict[WorkerState, list[str]] = {}
    for worker in engine.workers():
        by_state.setdefault(worker.state, []).append(worker.qualified_name)
    up = len(by_state.get(WorkerState.RUNNING, ()))
    parts = [f"{up} worker{' runs' if up == 1 else 's run'}"]
    starting = [*by_state.get(WorkerState.LOADING, ()), *by_state.get(WorkerState.STARTING, ())]
    parts += [f"{len(names)} {what}: {_few(names)}" for what, names in _others(by_state, starting) if names]
    text = ", ".join(parts)
    if running := len(engine.history.running()) if phase == "stopping" else 0:
        text += f"; {running} handler{' runs' if running == 1 else 's run'}"
    if waiting := engine.history.waiting:
        text += f"; {waiting} event{' waits' if waiting == 1 else 's wait'}"
    if engine.bus.broker.failure is not None:
        text += "; no event can be kept"
    return f"{phase}: {text}" if phase else text


def _others(by_state: dict[WorkerState, list[str]], starting: list[str]) -> list[tuple[str, list[str]]]:
    """Return the workers that the status names."""
    return [("starting", starting), ("in error", by_state.get(WorkerState.ERROR, []))]


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(sorted(names)[:NAMED])}{more}"
