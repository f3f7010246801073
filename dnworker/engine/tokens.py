"""`Tokens`: bearer tokens of the operator and of each worker process, and tickets for sockets."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dnworker.core.files import write_atomically
from dnworker.core.listeners import Listeners

log = logging.getLogger("dnworker.tokens")

TICKET_SECONDS = 30.0
TICKETS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Ticket:
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
    """

    def __init__(
        self, main: str | None = None, *, file: Path | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.main = main or secrets.token_urlsafe(32)
        self._file = file
        self._now = now
        self._stamp: tuple[int, int, int] | None = None
        self._of_workers: dict[str, str] = {}
        self._tickets: dict[str, Ticket] = {}
        self._listeners: Listeners[[str]] = Listeners()
        self.refresh()

    @property
    def file(self) -> Path | None:
        """The file that holds the operator's token."""
        return self._file

    def mint(self, worker: str) -> str:
        """Return a fresh token for one run of a worker process."""
        token = secrets.token_urlsafe(32)
        self._of_workers[token] = worker
        return token

    def revoke(self, token: str) -> None:
        """Accept this worker's token no longer."""
        self._of_workers.pop(token, None)
        self._tickets = {k: t for k, t in self._tickets.items() if t.token != token}

    def accepts(self, token: str) -> bool:
        """Return whether the token opens the API; takes the same time for every wrong one."""
        self.refresh()
        given = token.encode("utf-8", "surrogateescape")
        known = [self.main, *self._of_workers]
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
        """Take a changed token file over; one that cannot be read changes nothing."""
        if self._file is None:
            return
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            token = self._file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            log.debug("token file %s cannot be read: %s", self._file, exc)
            return
        self._stamp = stamp
        if token and token != self.main:
            old, self.main = self.main, token
            self.revoke(old)
            self._listeners.notify(old)

    def write(self) -> None:
        """Write the operator's token to its file, readable by its owner only, if the file is not there."""
        if self._file is None or self._file.exists():
            return
        write_atomically(self._file, self.main + "\n")
        self.refresh()

    def on_retired(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with every token that is retired; returns what ends it."""
        return self._listeners.add(listener)
