"""`Tokens`: bearer tokens of the operator and of each worker process, and tickets for sockets."""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.files import write_atomically
from dnworker.core.listeners import Listeners

log = logging.getLogger("dnworker.tokens")

TICKET_SECONDS = 30.0
TICKETS_KEPT = 1_000
LONGEST_TOKEN = 4_096

WorkerScope = Literal["operator", "worker"]
"""What the token of a worker process may do: all that the operator's may, or what a worker needs."""


class Ticket(msgspec.Struct, frozen=True):
    """A right to open one socket, soon."""

    token: str
    expires: float


class Tokens:
    """Knows which tokens open the API, and which worker a token was given to.

    Args:
        main: the operator's; minted when None.
        file: holds the operator's token, and wins over `main` when it can be read. When its text changes, the
            old token is retired: its tickets die, and `on_retired` listeners are called (contract 6.1).
        now: seconds that tickets age by.

    Raises:
        UsageError: the file is there and holds no token, or is no file.
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        file: Path | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.worker_scope: WorkerScope = "operator"
        """What the tokens of worker processes may do."""
        self.main = main or secrets.token_urlsafe(32)
        self._file = file
        self._now = now
        self._stamp: Stamp | None = None
        self._of_workers: dict[str, str] = {}
        self._of_operator: set[str] = set()
        self._tickets: dict[str, Ticket] = {}
        self._listeners: Listeners[[str]] = Listeners()
        self._problem: str | None = None
        if file is not None and os.path.lexists(file):
            self.main, self._stamp = read_token(file)

    @property
    def file(self) -> Path | None:
        """The file that holds the operator's token."""
        return self._file

    def mint(self, worker: str) -> str:
        """Return a fresh token for one run of a worker process."""
        token = secrets.token_urlsafe(32)
        self._of_workers[token] = worker
        return token

    def mint_for_operator(self) -> str:
        """Return a fresh token that may do what the operator's may, until it is revoked.

        The process that speaks MCP has one, so that the operator's own is not passed on.
        """
        token = secrets.token_urlsafe(32)
        self._of_operator.add(token)
        return token

    def revoke(self, token: str) -> None:
        """Accept a minted token no longer: its tickets die, and `on_retired` listeners are called."""
        self._of_workers.pop(token, None)
        self._of_operator.discard(token)
        self._tickets = {k: t for k, t in self._tickets.items() if t.token != token}
        self._listeners.notify(token)

    def accepts(self, token: str) -> bool:
        """Return whether the token opens the API; takes the same time for every wrong one."""
        self.refresh()
        given = token.encode("utf-8", "surrogateescape")
        known = [self.main, *self._of_operator, *self._of_workers]
        return any([hmac.compare_digest(given, one.encode()) for one in known])  # noqa: C419  no early end

    def worker_of(self, token: str) -> str | None:
        """Return the worker this token was minted for."""
        return self._of_workers.get(token)

    def issue_ticket(self, token: str) -> str:
        """Return a ticket that opens one socket within 30 s, in the place of `token` (contract 7)."""
        now = self._now()
        self._tickets = {k: t for k, t in self._tickets.items() if t.expires > now}
        while len(self._tickets) >= TICKETS_KEPT:
            del self._tickets[next(iter(self._tickets))]
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = Ticket(token, now + TICKET_SECONDS)
        return ticket

    def redeem(self, ticket: str) -> str | None:
        """Return the token that a ticket stands for, once; None when it is used, old or none of ours."""
        self.refresh()
        found = self._tickets.pop(ticket, None)
        return found.token if found is not None and found.expires > self._now() else None

    def refresh(self) -> None:
        """Take a changed token file over; one that holds no token changes nothing, and is logged once."""
        if self._file is None:
            return
        try:
            if _stamp(self._file.stat()) == self._stamp:
                return
            token, stamp = read_token(self._file)
        except FileNotFoundError as exc:
            if self._stamp is not None:  # it was there
                self._keep_old(f"token file {self._file}: {exc.strerror}")
            return
        except (OSError, UsageError) as exc:
            self._keep_old(str(exc))
            return
        self._stamp, self._problem = stamp, None
        if (exposed := exposure(self._file)) is not None:
            log.warning("%s", exposed)
        if token != self.main:
            old, self.main = self.main, token
            self.revoke(old)

    def _keep_old(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("%s; the token stays what it was", problem)
            self._problem = problem

    def write(self) -> None:
        """Write the operator's token to its file, readable by its owner only, if the file is not there.

        Raises:
            UsageError: it cannot be written.
        """
        if self._file is None or os.path.lexists(self._file):
            return
        try:
            write_atomically(self._file, self.main + "\n")
            self._stamp = _stamp(self._file.stat())
        except OSError as exc:
            raise UsageError(
                f"token file {self._file} cannot be written: {exc.strerror or exc}", code="DN907"
            ) from exc

    def on_retired(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with every token that is retired; returns what ends it."""
        return self._listeners.add(listener)


Stamp = tuple[int, int, int]


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_token(file: Path) -> tuple[str, Stamp]:
    """Return the token in a file, and what tells this text of it from the next.

    Raises:
        UsageError: it is no regular file, cannot be read, or holds nothing, or more than one word.
    """
    try:
        status = file.stat()  # first: to open a device may do something, and a pipe may never end
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(
                f"token file {file} is no regular file; name one that holds the token", code="DN907"
            )
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            status = os.fstat(stream.fileno())
            text = stream.read(LONGEST_TOKEN + 1).decode("utf-8-sig").strip()
    except UnicodeDecodeError as exc:
        raise UsageError(f"token file {file} is no UTF-8 text", code="DN907") from exc
    except OSError as exc:
        raise UsageError(f"token file {file} cannot be read: {exc.strerror or exc}", code="DN907") from exc
    if not text:
        raise UsageError(
            f"token file {file} is empty; write a token into it, or remove it to have one minted",
            code="DN907",
        )
    if len(text) > LONGEST_TOKEN or not text.isprintable() or len(text.split()) > 1:
        raise UsageError(
            f"token file {file} holds no token: a token is one word of at most {LONGEST_TOKEN:,}",
            code="DN907",
        )
    return text, _stamp(status)


def exposure(file: Path) -> str | None:
    """Return what to say of a token file that others can read or change; None of one that is private."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return None
    if not mode & 0o077:
        return None
    return f"token file {file} is open to others (mode {mode:04o}): `chmod 600 {file}` closes it"
