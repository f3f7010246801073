"""Who may do what: the right that each endpoint, socket and command needs, and those of a worker's token.

`api` checks endpoints, `auth` sockets, and `interactive` the commands of one. What names no right needs
`operate`, so that something new is the operator's alone until somebody decides. By default a worker's token
has every right, as in the reference; `serve --worker-scope worker` leaves it those of `WORKER_RIGHTS`.
"""

from __future__ import annotations

import enum

from starlette.types import Scope

from dnworker.core.errors import ApiError
from dnworker.engine.tokens import Tokens


class Right(enum.StrEnum):
    """A right; the value is its name in messages and in the docs."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    SESSIONS = "sessions"
    TURNS = "turns"
    OWN_DETAIL = "own-detail"
    RESTART = "restart"
    DETAILS = "details"
    RUNTIME = "runtime"
    RELOAD = "reload"
    CATALOG = "catalog"
    FILES = "files"
    SHELL = "shell"
    LOGS = "logs"
    PANEL = "panel"
    OPERATE = "operate"


WORKER_RIGHTS = frozenset(
    {Right.PUBLISH, Right.SUBSCRIBE, Right.SESSIONS, Right.TURNS, Right.OWN_DETAIL, Right.RESTART}
)
"""What a worker's token may do under `--worker-scope worker`."""

SOCKETS = {"/api/ws/events": Right.SUBSCRIBE, "/api/ws": Right.SESSIONS}
"""The right that opening a socket needs."""

COMMANDS = {
    "hello": Right.SESSIONS,
    "ping": Right.SESSIONS,
    "subscribe": Right.SESSIONS,
    "unsubscribe": Right.SESSIONS,
    "turn.start": Right.TURNS,
    "turn.cancel": Right.TURNS,
    "prompt.respond": Right.TURNS,
}
"""The right that a command of the interactive socket needs."""


class Forbidden(ApiError):
    """The caller is known, and lacks a right."""

    code = "DN905"
    status = 403


def lacks(scope: Scope, right: Right, tokens: Tokens) -> str | None:
    """Return what to answer when the caller lacks a right; None when it has it."""
    if right in WORKER_RIGHTS or not is_limited(scope, tokens):
        return None
    return (
        f"the token of worker {scope['worker']!r} has no right {right.value!r}: "
        f"this runtime limits what workers may do (--worker-scope worker)"
    )


def is_limited(scope: Scope, tokens: Tokens) -> bool:
    """Return whether the caller has the rights of a worker only; calls within the process have all."""
    return tokens.worker_scope == "worker" and scope.get("worker") is not None


def demand(scope: Scope, right: Right, tokens: Tokens) -> None:
    """Let the caller go on.

    Raises:
        Forbidden: it lacks the right; says which.
    """
    if (refusal := lacks(scope, right, tokens)) is not None:
        raise Forbidden(refusal)
