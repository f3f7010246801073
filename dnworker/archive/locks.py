"""Has uv lock the requirements of scripts (PEP 723); used by packing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from dnworker.capability.manifest import CapabilityManifest
from dnworker.capability.reading import LONGEST_MODULE, UnreadableFile, read_bytes, shown
from dnworker.core.errors import UsageError

LOCK = ".lock"
"""What uv appends to the path of a script for the path of its lock."""

TIMEOUT = 300.0
"""Seconds that uv may take for one script."""

_BLOCK = re.compile(rb"^# /// script[ \t]*\r?$", re.MULTILINE)
_LONGEST = 400


def scripts_to_lock(root: Path, paths: Iterable[str], manifest: CapabilityManifest) -> list[str]:
    """Return the scripts of a capability that name what they require, sorted.

    Without those that run in the runtime's own process: its environment has what they import.
    """
    inside = {(root / w.path).resolve() for w in manifest.workers.values() if w.path is not None}
    return [
        path
        for path in sorted(paths)
        if path.endswith(".py") and (root / path).resolve() not in inside and _names_requirements(root / path)
    ]


def _names_requirements(file: Path) -> bool:
    try:
        return _BLOCK.search(read_bytes(file, LONGEST_MODULE)) is not None
    except UnreadableFile:  # larger than a script may be
        return False


def lock(script: Path, name: str) -> Path:
    """Make the lock of a script beside it, or renew the one that is there; returns its path.

    Versions that a lock has already are kept, as far as the requirements allow.

    Args:
        script: the file.
        name: what errors call it.

    Raises:
        UsageError: uv finds no versions that go together, or cannot reach its index.
    """
    from uv import find_uv_bin

    said = ""
    for where in ("--offline", "--no-progress"):  # from uv's cache first, if that has everything
        command = [find_uv_bin(), "--color", "never", "lock", "--script", str(script), where]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            said = f"it took more than {TIMEOUT:g} s"
            continue
        if done.returncode == 0:
            return script.with_name(f"{script.name}{LOCK}")
        said = done.stdout.decode(errors="replace")
    raise UsageError(
        f"{name}: uv cannot lock what it requires; pack where uv reaches its index, or without locks by "
        f"--no-lock. uv says: {shown(' '.join(said.split()) or 'nothing', _LONGEST)}",
        code="DN517",
    )
