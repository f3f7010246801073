"""`Messages`: what runtimes that share a broker say to each other beside events; nothing of it is kept."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Protocol

from dnworker.core.errors import DnworkerError


class Unreachable(DnworkerError):
    """Nobody answers a request: no runtime serves it, or its answer does not come in time."""


class Messages(Protocol):
    """Messages between the runtimes of one namespace.

    A subject is tokens with dots between them; `subject_token` makes a token of any text. Everything is
    called on one loop, and handlers are, too. What a handler raises is logged; it ends nothing.
    """

    def tell(self, subject: str, data: bytes) -> None:
        """Send a message to all who listen, at most once; it is lost where the broker is away."""

    def listen(self, subject: str, on_message: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Call `on_message(subject, data)` with every message from now on, those of this runtime too.

        Args:
            subject: its last token may be `>`, which stands for any further tokens.
            on_message: what gets them, in the order in which one runtime sends them.

        Returns the function that ends it.
        """

    def serve(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]]) -> Callable[[], None]:
        """Answer the requests of a subject, each in a task of its own; one runtime serves it at a time.

        Returns the function that ends it.
        """

    async def request(self, subject: str, data: bytes, seconds: float) -> bytes:
        """Return the answer of the runtime that serves a subject.

        Raises:
            Unreachable: nobody serves it, or no answer comes within `seconds`.
        """


class ReportLog(Protocol):
    """What runtimes of one namespace report of what runs on them: in one order, kept for a bounded time.

    Everything is called on one loop. What `on_report` raises is logged; it ends nothing.
    """

    async def add(self, data: bytes) -> None:
        """Add a report, of `REPORT_BYTES` at most; return once it is kept.

        Raises:
            NotStored: it cannot be kept now; whether it is, is not known where the answer is lost.
        """

    def follow(self, on_report: Callable[[bytes], None]) -> Callable[[], None]:
        """Call `on_report` with every report from now on, those of this runtime too, in the order of the log.

        After a time in which the log could not be reached, it goes on with the oldest that is kept of those
        that it has not given; one may come twice. Returns the function that ends it.
        """


REPORT_BYTES = 900_000
"""Bytes of one report: a message of NATS has a million."""

REPORTS_KEPT_SECONDS, REPORTS_KEPT_BYTES = 3_600, 256_000_000
"""Age and bytes of reports that a log keeps; the oldest go first."""


NAME_LENGTH = 200
"""Characters of texts whose tokens are remembered."""

_PLAIN = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]*")
"""Texts that are their own token: ids and most names; every event has some."""


def subject_token(text: str) -> str:
    """Return a text as one token of a subject or a key, which only this text makes.

    Letters, digits, `-` and `_` stay, except a leading `_`; any other byte of its UTF-8 is `=` and two
    hexadecimal digits. An empty text is `=`.
    """
    if _PLAIN.fullmatch(text):
        return text
    return _escaped_token(text) if len(text) <= NAME_LENGTH else _escaped_token.__wrapped__(text)


@lru_cache(maxsize=4_096)
def _escaped_token(text: str) -> str:
    """Return the token of a text with other characters; kinds and workers are asked for with every event."""
    if not text:
        return "="
    made = "".join(
        char if char.isascii() and (char.isalnum() or char in "-_") else _escaped(char) for char in text
    )
    return f"=5f{made[1:]}" if made.startswith("_") else made


def _escaped(char: str) -> str:
    return "".join(f"={byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
