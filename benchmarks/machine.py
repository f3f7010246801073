"""Says on which machine, and of which commit, something was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

PROJECT = Path(__file__).parents[1]


class Machine(TypedDict):
    """What figures depend on; nothing that names the machine."""

    cpu: str
    cores: int
    memory_gib: float
    python: str
    os: str


def machine() -> Machine:
    """Describe this machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(pages / 2**30, 1),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": _os(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _os() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{name}, {kernel}" if name else kernel


def commit() -> str:
    """Return the short name of the commit, with a `+` where files differ; `unknown` outside of git."""
    try:
        name = _git("rev-parse", "--short=9", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--", "dnworker", "extension") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def now() -> str:
    """Return the moment in UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
