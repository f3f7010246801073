"""Looks at uv, which makes the environments of worker scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from dnworker.doctor.findings import Finding, ok, problem, warning
from dnworker.doctor.packages import is_older

OLDEST = "0.5.10"
"""The first version that can do what is asked of it."""

SECONDS = 4.0
"""How long one call may take."""

INSTALL = "pip install 'dnworker[runtime]'"


def find_uv() -> str | None:
    """Return the program that worker processes are run by; None where there is none."""
    if (path := shutil.which("uv")) is not None:
        return path
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        return None


def answer(command: list[str]) -> str:
    """Return what a program prints.

    Raises:
        OSError: it cannot be run, fails or takes too long; the text says why.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"it takes longer than {SECONDS:g} s") from None
    if done.returncode != 0:
        raise OSError(done.stderr.strip()[:200] or f"it ends with code {done.returncode}")
    return done.stdout.strip()


def uv(
    find: Callable[[], str | None] = find_uv, ask: Callable[[list[str]], str] = answer
) -> Iterator[Finding]:
    """Look at its version and its cache.

    Args:
        find: returns where it is.
        ask: returns what a command prints.
    """
    path = find()
    if path is None:
        yield problem("uv", "not found: workers with a `command` that begins with uv do not run", INSTALL)
        return
    try:
        version = (ask([path, "--version"]).split() or ["", ""])[1:2]
        cache = ask([path, "cache", "dir"])
    except OSError as exc:
        yield problem("uv", f"{path} fails: {exc}", "install it again: pip install --force-reinstall uv")
        return
    number = version[0] if version else "0"
    if is_older(number, OLDEST):
        yield problem(
            "uv", f"{path} is {number}, and {OLDEST} is needed", "uv self update, or pip install -U uv"
        )
    else:
        yield ok("uv", f"{number}, {path}")
    yield from _cache(Path(cache))


def _cache(place: Path) -> Iterator[Finding]:
    nearest = place
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK | os.X_OK):
        text = f"its cache {place} cannot be written: no environment can be made"
        yield problem("uv", text, "make it writable, or set UV_CACHE_DIR to another directory")
    elif not place.exists():
        way_out = "run the worker once where an index is reached"
        yield warning("uv", f"its cache {place} is not there yet: the first start needs a network", way_out)
    else:
        yield ok("uv", f"its cache {place} is writable")
