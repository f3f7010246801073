"""Environments with the ipykernels whose loops, comms and interrupts differ, made once and kept in .build/."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

PROJECT = Path(__file__).parents[2]
HOME = PROJECT / ".build" / "kernels"
VERSIONS = ("6.31", "7.3", "7.4")


def kernel_python(version: str) -> Path:
    """Return an interpreter with this ipykernel and the project, installing it the first time.

    With CI=true an install that fails is a failure; elsewhere the tests are skipped, with the reason.
    """
    home = HOME / version
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side, and one of them installs
        stamp = home / "installed"
        if not stamp.exists() or stamp.read_text() != _wanted():
            _install(home, version)
            stamp.write_text(_wanted())
    return home / "bin" / "python"


def _wanted() -> str:
    return (PROJECT / "pyproject.toml").read_text()


def _install(home: Path, version: str) -> None:
    uv = find_uv_bin()
    environ = {**os.environ, "UV_LINK_MODE": "copy"}
    python = str(home / "bin" / "python")
    requirements = [f"ipykernel~={version}.0", "loguru", "rich", "--editable", f"{PROJECT}[jupyter]"]
    try:
        for command in (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
            [uv, "pip", "install", "--quiet", "--python", python, *requirements],
        ):
            subprocess.run(command, check=True, timeout=1800, capture_output=True, text=True, env=environ)
    except (subprocess.SubprocessError, OSError) as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"ipykernel {version} could not be installed: {getattr(exc, 'stderr', None) or exc}")
