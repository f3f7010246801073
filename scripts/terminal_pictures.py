"""Makes docs/images/cli-*.svg: what commands show at a terminal, by their own code; run as a module."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from dnworker.cli import events, ps, trace

IMAGES = Path(__file__).parents[1] / "docs" / "images"

COLUMNS = 100

_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Fonts of a server elsewhere; a picture asks nobody, and has what the reader has."""


class _Terminal(io.StringIO):
    """Standard output that counts as a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def terminal() -> Iterator[_Terminal]:
    """Have standard output be a terminal of `COLUMNS` columns with colours."""
    environ = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environ |= {"COLUMNS": str(COLUMNS), "LINES": "50", "TERM": "xterm"}
    made = _Terminal()
    with patch.dict(os.environ, environ, clear=True), patch.object(sys, "stdout", made):
        yield made


def show_ps() -> None:
    """Print workers in several states."""
    since = datetime.now(UTC) - timedelta(hours=3, minutes=5)

    def row(name: str, state: str, error: str = "", process: int | None = None) -> dict[str, Any]:
        found = {"qualified_name": f"shop:{name}", "state": state, "error": error, "when": ["later"]}
        return found | ({"process": {"pid": process}} if process else {})

    rows = [
        row("orders", "running", process=4711),
        row("bills", "error", "ConnectionError: no answer from db.local"),
    ]
    rows += [row("mails", "running"), row("reports", "gated_off")]
    numbers = {"orders": (12_408, 3, 0), "bills": (87, 12, 41), "mails": (12_390, 0, 2), "reports": (0, 0, 0)}
    counts = {
        f"shop:{name}": {"since": since.isoformat(), "handled": handled, "failed": failed, "waiting": waiting}
        for name, (handled, failed, waiting) in numbers.items()
    }
    found = ps._Found("http://127.0.0.1:8787", rows, [], counts)
    print("\n".join(ps._lines(found, argparse.Namespace(wide=False))))


def show_events() -> None:
    """Print events with what handlers did."""

    def event(seq: int, kind: str, by: str, **more: Any) -> dict[str, Any]:
        counts = {"ok": 0, "warnings": 0, "failed": 0, "cancelled": 0, "running": 0, "waits": False}
        facts = {
            "seq": seq,
            "kind": kind,
            "by": by,
            "at": f"2026-05-01T14:03:{seq:02}.5Z",
            "session_id": None,
        }
        return facts | counts | {"error": None, "notes": [], "is_failed": False} | more

    found = [
        event(9, "order.placed", "HTTP", ok=2, running=1),
        event(8, "bill.sent", "shop:bills.on_billed #6", waits=True),
        event(7, "order.billed", "shop:orders.on_order #6", failed=1, error="KeyError: 'address'"),
        event(6, "order.placed", "HTTP", ok=2),
    ]
    events._print(found, argparse.Namespace(json=False, follow=False))


def show_trace() -> None:
    """Print a trace with bars."""

    def row(depth: int, category: str, text: str, **more: Any) -> dict[str, Any]:
        return {"depth": depth, "category": category, "text": text, **more}

    rows = [
        row(0, "event", "order.placed #6"),
        row(1, "invocation", "shop:orders.on_order  12.4 ms", bar=[0.0, 0.55]),
        row(2, "log", "took order 17"),
        row(2, "event", "order.billed #7"),
        row(3, "invocation", "shop:bills.on_billed  9.8 ms", outcome="error", bar=[0.52, 1.0]),
        row(4, "error", "KeyError: 'address'  (workers/bills.py:14)"),
        row(1, "invocation", "shop:mails.on_order  3.1 ms", bar=[0.0, 0.14]),
    ]
    print("\n".join(trace._lines({"rows": rows, "events": [], "cut": []})))


PICTURES: dict[str, tuple[str, Callable[[], None]]] = {
    "cli-ps": ("dnworker ps", show_ps),
    "cli-events": ("dnworker events", show_events),
    "cli-trace": ("dnworker trace 6", show_trace),
}


def picture(name: str) -> str:
    """Return one picture as SVG."""
    title, show = PICTURES[name]
    with terminal() as written:
        show()
    lines = [line.rstrip() for line in written.getvalue().rstrip("\n").split("\n")]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    for line in lines:
        console.print(Text.from_ansi(line))
    svg = console.export_svg(title=title, theme=MONOKAI, unique_id=name)
    return _FONT.sub("", svg).rstrip() + "\n"


def main() -> None:
    """Write all pictures."""
    for name in PICTURES:
        (IMAGES / f"{name}.svg").write_text(picture(name), encoding="utf-8")


if __name__ == "__main__":
    main()
