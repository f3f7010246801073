"""`Finding`: one thing that was looked at; `examine` runs all checks at the same time, within a bound.

A check is a function without arguments that yields findings. It runs on a daemon thread: one that hangs, as
on a disk over a network, is said and left behind.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from dnworker.core.files import home_directory
from dnworker.core.text import shorten

Mark = Literal["ok", "warning", "problem"]

Check = Callable[[], Iterable["Finding"]]

LONGEST = 600
"""Characters of one text of a finding."""

_PASSWORD = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; nothing in it is secret, and the home directory is written `~`."""

    subject: str
    mark: Mark
    text: str
    remedy: str = ""
    """The way out; empty where nothing is to be done."""

    def __str__(self) -> str:
        """The line that people read."""
        way_out = f"; {self.remedy}" if self.remedy else ""
        mark = "OK" if self.mark == "ok" else self.mark
        return f"{mark:<8} {self.subject}: {self.text}{way_out}"


def ok(subject: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that says that all is well."""
    return Finding(subject, "ok", shown(text), shown(remedy))


def warning(subject: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that may explain what goes wrong, and need not."""
    return Finding(subject, "warning", shown(text), shown(remedy))


def problem(subject: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that keeps dnworker from working."""
    return Finding(subject, "problem", shown(text), shown(remedy))


def shown(text: str) -> str:
    """Return a text in one line without passwords of addresses, in which the home directory is `~`."""
    text = _PASSWORD.sub("//***@", " ".join(text.split()))
    home = str(home_directory())
    for directory in {home, os.path.realpath(home)}:
        if len(directory) > 1 and directory != os.devnull:
            text = re.sub(rf"(?<![\w.-]){re.escape(directory)}(?=/|$|[^\w.-])", "~", text)
    return shorten(text, LONGEST)


def examine(checks: Mapping[str, Check], within: float) -> list[Finding]:
    """Run all checks at the same time and return what they find, in the order of the checks.

    Args:
        checks: by what they look at.
        within: seconds for all; a check that takes longer is a finding, too.
    """
    found: dict[str, list[Finding]] = {}

    def run(name: str, check: Check) -> None:
        try:
            result = list(check())
        except Exception as exc:  # the others go on, and this is said
            text = f"could not be looked at: {type(exc).__name__}: {exc}"
            result = [warning(name, text, "please report this, with this line")]
        found[name] = result

    threads = {
        name: threading.Thread(target=run, args=(name, check), name=f"doctor {name}", daemon=True)
        for name, check in checks.items()
    }
    deadline = time.monotonic() + within
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {within:g} s"
    hangs = "a disk, a program or a server that this looks at hangs"
    return [
        finding
        for name in checks
        for finding in found.get(name) or ([] if name in found else [warning(name, late, hangs)])
    ]
