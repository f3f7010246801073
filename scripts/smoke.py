"""Installs a built wheel and sdist in clean environments, and does what a user does on the first day.

    python scripts/smoke.py dist --python 3.13 --resolution lowest-direct

The tests and the release run it; it needs uv and nothing else. It ends with code 1 where a step fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from email import message_from_bytes
from pathlib import Path

STEP_LIMIT = 300.0
"""Seconds that a step may take: those that install may have to download."""

SERVE_LIMIT = 120.0
"""Seconds until `serve` has told its address, answered and ended."""

SCRIPT = """
from dnworker import EventEnvelope, RuntimeClient, Worker
import dnworker.workers.standalone, dnworker.workers.runner
worker = Worker(name='w')
print('a worker script imports')
"""

NOTEBOOK = """
import sys
from dnworker_jupyter.importer.importer import first_notebook
open(sys.argv[1], 'wb').write(first_notebook().as_ipynb())
"""


def main() -> int:
    """Try what is built; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dist", type=Path, help="the directory with one wheel and one sdist")
    parser.add_argument("--python", default=sys.executable, help="a version, or an interpreter")
    parser.add_argument("--resolution", choices=["highest", "lowest-direct"], default="highest")
    options = parser.parse_args()
    (wheel,), (sdist,) = options.dist.absolute().glob("*.whl"), options.dist.absolute().glob("*.tar.gz")
    with tempfile.TemporaryDirectory(prefix="dnworker-smoke-") as name:
        place = Path(name)
        how = (options.python, options.resolution)
        bare = _environment(place / "bare", *how, f"dnworker @ {sdist.as_uri()}", _needs(wheel, ""))
        _run(bare / "python", "-c", SCRIPT, at=place)
        needs = _needs(wheel, "jupyter")
        full = _environment(place / "full", *how, f"dnworker[jupyter] @ {wheel.as_uri()}", needs)
        _first_day(full, place)
    print(f"{wheel.name} and {sdist.name} work, Python {options.python}, {options.resolution}")
    return 0


def _environment(directory: Path, python: str, resolution: str, package: str, needs: list[str]) -> Path:
    """Make an environment with the package; returns the directory of its programs."""
    uv = os.environ.get("UV") or shutil.which("uv")  # `uv run` sets the variable
    if uv is None:
        raise SystemExit("uv is not on the PATH; run it by: uv run --no-project scripts/smoke.py ...")
    _run(uv, "venv", "--quiet", "--python", python, directory, at=directory.parent)
    into = ("--python", directory / "bin" / "python", "--resolution", resolution)
    # Named one by one, since uv lowers only what the command names; and none is compiled, since the oldest
    # that a user can get are those with a wheel for this Python.
    wheels = [f"--only-binary={_name(needed)}" for needed in needs]
    _run(uv, "pip", "install", "--quiet", *into, *wheels, package, *needs, at=directory.parent)
    return directory / "bin"


def _needs(wheel: Path, extra: str) -> list[str]:
    """Return what the wheel requires, that of an extra included; without what it requires of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    found = []
    for needed in metadata.get_all("Requires-Dist", []):
        requirement, _, condition = (part.strip() for part in needed.partition(";"))
        if condition in ("", f"extra == '{extra}'"):
            found.append(requirement)
    return found


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _first_day(binaries: Path, place: Path) -> None:
    """Run a notebook, export it, check the export, and serve it."""
    dnworker = binaries / "dnworker"
    _run(dnworker, "--version", at=place)
    _run(binaries / "python", "-c", NOTEBOOK, place / "first.ipynb", at=place)
    how = ("--execute", "--target", "dnworker", "--topology", "in-process")
    _run(dnworker, "export", "first.ipynb", *how, "-o", "made", at=place)
    _run(dnworker, "validate", "--strict", "made", at=place)
    _serve(dnworker, place)


def _serve(dnworker: Path, place: Path) -> None:
    """Serve the export until it listens, ask it for its workers, and end it as an operator does."""
    command = [str(dnworker), "serve", "made", "--port", "0"]
    with subprocess.Popen(
        command, cwd=place, env=_outside(place), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        end = threading.Timer(SERVE_LIMIT, process.kill)
        end.start()
        try:
            for line in process.stdout:
                said += line
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    shown = _run(dnworker, "ps", "--url", found[0], at=place)
                    assert "greeter" in shown, shown
                    break
            else:
                raise SystemExit(f"dnworker serve ended before it told an address:\n{said[-3000:]}")
        finally:
            process.terminate()
            said += process.stdout.read()
            process.wait()
            end.cancel()
    if process.returncode != 0:
        raise SystemExit(f"dnworker serve ended with {process.returncode}:\n{said[-3000:]}")


def _outside(home: Path) -> dict[str, str]:
    """Return an environment in which no other dnworker and no user's settings are found."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in hidden} | {
        "DNWORKER_JOURNAL": "off",
        "IPYTHONDIR": str(home / "ipython"),
        "XDG_STATE_HOME": str(home / "state"),
    }


def _run(*command: str | Path, at: Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=at, env=_outside(at), capture_output=True, text=True, check=False, timeout=STEP_LIMIT
    )
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr[-3000:]}"
        )
    print(done.stdout, end="", flush=True)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
