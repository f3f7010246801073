"""Builds what a stranger installs, and makes the clean environments to install it in; for the tests beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

PROJECT = Path(__file__).parents[2]
UV = find_uv_bin()


def sh(*command: str | Path, **options) -> str:
    """Run a command, showing what it said when it failed."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def tracked() -> list[str]:
    """Return the files that git would give a stranger: those that are tracked or about to be."""
    names = sh("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=PROJECT).splitlines()
    return [name for name in names if (PROJECT / name).is_file()]


def copy_to(directory: Path) -> Path:
    """Copy the tracked files, without git."""
    for name in tracked():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes((PROJECT / name).read_bytes())
        (directory / name).chmod((PROJECT / name).stat().st_mode)
    return directory


def build(source: Path, into: Path, *options: str) -> Path:
    """Build a wheel (or with `--sdist` an sdist) of a source; returns its file."""
    sh(UV, "build", "--quiet", *(options or ("--wheel",)), "--out-dir", into, source)
    (built,) = [file for file in into.iterdir() if file.suffix in (".whl", ".gz")]
    return built


def new_environment(directory: Path, *packages: str) -> Path:
    """Make a virtual environment with packages; returns its bin directory."""
    sh(UV, "venv", "--quiet", "--python", sys.executable, directory)
    sh(UV, "pip", "install", "--quiet", "--python", directory / "bin" / "python", *packages)
    return directory / "bin"


def outside(bin_directory: Path, home: Path) -> dict[str, str]:
    """An environment in which only the clean environment's programs are ours."""
    cache = sh(UV, "cache", "dir").strip()
    keep = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return keep | {"HOME": str(home), "UV_CACHE_DIR": cache, "PATH": f"{bin_directory}:/usr/bin:/bin"}
