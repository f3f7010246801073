"""Writes into wheels and sdists which commit they are of, as `dnworker/build.json`; hatch calls it.

`dnworker --version` reads it. The same commit gives the same bytes; without a commit there is no file.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "dnworker/build.json"


class CommitHook(BuildHookInterface):
    """Adds the file to what is built."""

    PLUGIN_NAME = "custom"
    _made: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Have the file included; an editable install asks git itself, and an sdist has the file already."""
        root = Path(self.root)
        if version == "editable" or (root / PLACE).exists():
            return
        commit = _of_git(root) or _of_archive(root)
        if commit is None:
            return
        self._made = tempfile.TemporaryDirectory()
        file = Path(self._made.name, "build.json")
        file.write_text(json.dumps({"commit": commit[0], "date": commit[1]}) + "\n", encoding="utf-8")
        build_data["force_include"][str(file)] = PLACE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was written for the build."""
        if self._made is not None:
            self._made.cleanup()


def _of_git(root: Path) -> tuple[str, str] | None:
    """Return commit and date of a clone; None where it is none, or there is no git."""
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "log", "-1", "--format=%H %cI"],  # noqa: S607  the git of who builds
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    commit, _, date = done.stdout.strip().partition(" ")
    return (commit, date) if done.returncode == 0 and date else None


def _of_archive(root: Path) -> tuple[str, str] | None:
    """Return commit and date of what `git archive` wrote."""
    try:
        text = (root / ".git_archival.txt").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^node: ([0-9a-f]{7,})\nnode-date: (\S+)$", text, re.MULTILINE)
    return (found[1], found[2]) if found else None
