"""Which bearer token a client sends: one that was given, that of a file, or the environment's."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

from dnworker.client.address import UNIX, is_near, resolve_url
from dnworker.core.errors import Invalid, RuntimeUnavailable, UsageError

log = logging.getLogger("dnworker.client")

LONGEST_TOKEN = 10_000
"""Bytes of a file with a token."""

_PORTS = {"http": 80, "https": 443}


def resolve_token(argument: str | None = None) -> str | None:
    """Return the bearer token: argument, token file, `DREADNODE_RUNTIME_TOKEN`, the legacy variable."""
    if argument:
        return argument
    if file := os.environ.get("DREADNODE_RUNTIME_TOKEN_FILE"):
        try:
            return Path(file).read_text(encoding="utf-8").strip() or None
        except OSError as exc:
            log.warning("token file cannot be read: %s; using the environment's token", exc.strerror)
    return os.environ.get("DREADNODE_RUNTIME_TOKEN") or os.environ.get("SANDBOX_AUTH_TOKEN") or None


def is_meant_for(url: str) -> bool:
    """Return whether the environment's token is meant for an address: of this machine, or the one it names.

    Any other address gets none: whoever types one would hand the token of their runtime to a stranger.
    """
    if is_near(url):
        return True
    try:
        return _whole(url) == _whole(resolve_url())
    except Invalid:  # the environment names none
        return False


def _whole(url: str) -> tuple[str, str | None, int | None, str]:
    """Return an address in one spelling: scheme, host, port, path."""
    if url.startswith(UNIX):
        return "unix", None, None, url
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path.rstrip("/")


def bearer(token: str, url: str) -> dict[str, str]:
    """Return the header with a token.

    Raises:
        RuntimeUnavailable: no header can have it. Libraries say so, too, with the token in their words.
    """
    if not token.isascii() or not token.isprintable() or token != token.strip():
        raise RuntimeUnavailable(
            f"the token for {url} has a line break, a space at an end, or a character that is not ASCII; "
            "give it as one line of text",
            code="DN904",
        )
    return {"Authorization": f"Bearer {token}"}


def way_to_token(url: str) -> str:
    """Return what to do where a runtime refuses a request that had no token."""
    kept = "; the one of the environment goes only to this machine and to DREADNODE_RUNTIME_URL"
    return f"{url} wants a token{kept if resolve_token() else ''}: name its file with --token-file FILE"


def token_in(file: str | os.PathLike[str], source: str = "token file") -> str:
    """Return the token that a file has.

    Args:
        file: its path; `~` is the home directory.
        source: what the file was given as.

    Raises:
        UsageError: it cannot be read, or has none; nothing of its content is in the text.
    """
    try:
        with Path(file).expanduser().open("rb") as stream:
            text = stream.read(LONGEST_TOKEN + 1)
    except (OSError, ValueError, RuntimeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise UsageError(f"{source} {os.fspath(file)} cannot be read: {why}", code="DN907") from exc
    token = text.decode("utf-8", "replace").strip()
    if not token or len(text) > LONGEST_TOKEN or not token.isprintable() or " " in token:
        raise UsageError(f"{source} {os.fspath(file)} has no token; it is one line of text", code="DN907")
    return token
