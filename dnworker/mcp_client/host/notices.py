"""`Notices`: what becomes of a server's notifications and of what it writes that is no message; for `stdio`.

Log messages go to the log of the server, bounded in number; that its tools have changed is passed on; the
rest is for nobody here.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

LINES = 20
"""Lines of the log within `SECONDS`; what comes beyond is counted."""

SECONDS = 1.0
LONGEST = 500
"""Characters of one line."""

TELL_SECONDS = 2.0
"""Seconds after which it is said how much was dropped."""

FEW = 1000
"""Notifications for nobody, such as progress, that may be dropped in silence."""

_LEVELS = {"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}


class Notices:
    """Takes the notifications of one server.

    Args:
        on_tools_changed: called when it says that it has other tools.
    """

    def __init__(self, on_tools_changed: Callable[[], None]) -> None:
        self._on_tools_changed = on_tools_changed
        self._began = time.monotonic()
        self._lines = 0
        self._dropped: dict[str, int] = {}
        self._telling: asyncio.TimerHandle | None = None

    def take(self, method: str, params: Any) -> None:
        """Take one notification."""
        if method == "notifications/tools/list_changed":
            self._on_tools_changed()
        elif method == "notifications/message" and isinstance(params, dict):
            level = str(params.get("level", "info"))
            self._print(f"[{level if level in _LEVELS else 'info'}] {params.get('data')}", "log messages")
        else:
            self.note_dropped("notifications", is_expected=True)

    def note_garbage(self, line: bytes) -> None:
        """Note a line of its output that is no message."""
        self._print(
            f"no message of MCP: {line[:LONGEST].decode(errors='replace')}", "lines that are no messages"
        )

    def note_dropped(self, what: str, *, is_expected: bool = False) -> None:
        """Count something that was dropped, and say so now and then; a few usual ones are not worth it."""
        self._dropped[what] = self._dropped.get(what, 0) + 1
        if self._telling is None and (not is_expected or self._dropped[what] > FEW):
            self._telling = asyncio.get_running_loop().call_later(TELL_SECONDS, self.tell)

    def tell(self) -> None:
        """Say how much was dropped since it was said last."""
        dropped, self._dropped = self._dropped, {}
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        for what, count in dropped.items():
            print(f"dropped {count:,} {what}", file=sys.stderr, flush=True)

    def _print(self, text: str, what: str) -> None:
        now = time.monotonic()
        if now - self._began >= SECONDS:
            self._began, self._lines = now, 0
        self._lines += 1
        if self._lines > LINES:
            self.note_dropped(what)
            return
        print(" ".join(text[:LONGEST].split()), file=sys.stderr, flush=True)
