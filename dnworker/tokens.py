"""Bearer tokens: one for the operator, and one for every worker process of its own."""

from __future__ import annotations

import hmac
import secrets


class Tokens:
    """Knows which tokens open the API, and which worker a token was given to."""

    def __init__(self, main: str | None = None) -> None:
        self.main = main or secrets.token_urlsafe(32)
        self._of_workers: dict[str, str] = {}

    def mint(self, worker: str) -> str:
        """Return a fresh token for one run of a worker process."""
        token = secrets.token_urlsafe(32)
        self._of_workers[token] = worker
        return token

    def revoke(self, token: str) -> None:
        """Accept this worker's token no longer."""
        self._of_workers.pop(token, None)

    def accepts(self, token: str) -> bool:
        """Tell whether the token opens the API; takes the same time for every wrong one."""
        given = token.encode()
        known = [self.main, *self._of_workers]
        return any([hmac.compare_digest(given, one.encode()) for one in known])  # noqa: C419  no early end

    def worker_of(self, token: str) -> str | None:
        """Return the worker this token was minted for."""
        return self._of_workers.get(token)
