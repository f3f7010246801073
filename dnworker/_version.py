"""The version of the installed dnworker; server, command line and `dnworker.__version__` read it here.

The build takes it from the repository's newest tag, so no file of the source names it. `build.json` beside
this file names the commit that a package was built from; a checkout asks git.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    __version__ = version("dnworker")
except PackageNotFoundError:  # the source is on the path, and nothing is installed
    __version__ = "0.0.0"

GIT_SECONDS = 2.0
"""How long git may take to name the commit of a checkout."""

_PACKAGE = Path(__file__).parent


def build(package: Path = _PACKAGE) -> str | None:
    """Return which commit this is, such as `build 1a2b3c4d of 2026-11-27`; None where nothing says so.

    Args:
        package: the directory of the package.
    """
    try:
        made = json.loads((package / "build.json").read_text(encoding="utf-8"))
        return f"build {str(made['commit'])[:12]} of {str(made['date'])[:10]}"
    except (OSError, ValueError, TypeError, KeyError):
        return _of_checkout(package.parent)


def _of_checkout(root: Path) -> str | None:
    if not ((root / ".git").exists() and (root / "pyproject.toml").is_file()):
        return None
    import subprocess

    words = ["git", "-C", str(root), "log", "-1", "--format=%h %cs", "--no-show-signature"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=GIT_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git, or one that hangs: the version stays without its commit
    commit, _, date = done.stdout.strip().partition(" ")
    return f"build {commit} of {date}, from a checkout" if done.returncode == 0 and date else None
