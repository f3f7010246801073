"""An environment of its own holding the real reference system, made once and kept in .build/."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

PROJECT = Path(__file__).parents[2]
HOME = PROJECT / ".build" / "reference"
SDK = "dreadnode==2.0.52"
PYTHON = HOME / "bin" / "python"

LIMIT = 900
"""Seconds after which something hangs: the reference imports for seconds, and on a busy machine for a minute."""


def reference_python() -> Path:
    """Return the interpreter that has the SDK, installing it the first time.

    With CI=true an install that fails is a failure; elsewhere the tests are skipped, with the reason.
    """
    HOME.parent.mkdir(exist_ok=True)
    with (HOME.parent / "reference.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side, and one of them installs
        return _install()


def _install() -> Path:
    stamp = HOME / f"{SDK}.installed"
    if stamp.exists():
        return PYTHON
    uv = find_uv_bin()
    try:
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(HOME)], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", str(PYTHON), SDK],
            check=True,
            timeout=1800,
            capture_output=True,
            text=True,
        )
    except (subprocess.SubprocessError, OSError) as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the reference could not be installed: {getattr(exc, 'stderr', None) or exc}")
    stamp.touch()
    return PYTHON
