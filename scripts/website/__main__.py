"""`python -m scripts.website build|serve`: generate what pages need, then let Zensical make the site."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ZENSICAL = [sys.executable, "-m", "zensical"]


def main(what: str) -> int:
    """Build the site strictly, or serve it; returns the exit code."""
    command = [*ZENSICAL, "build", "--clean", "--strict"] if what == "build" else [*ZENSICAL, "serve"]
    return subprocess.run(command, cwd=PROJECT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
