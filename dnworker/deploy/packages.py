"""`packages_of` returns what is installed of Python: dnworker, and what capabilities want."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from dnworker.capability.reading import shown
from dnworker.core.errors import UsageError
from dnworker.deploy.files import Packages
from dnworker.deploy.settings import Settings

LOCK_WITHIN = 300.0
"""Seconds that uv may take to lock what is installed."""


def packages_of(
    settings: Settings, requirements: Sequence[str], wheel: Path | None, uv: str | None
) -> Packages:
    """Return what is installed.

    Args:
        settings: of the deployment.
        requirements: what the capabilities want in the runtime's environment.
        wheel: a wheel of dnworker in place of the one of an index; None for that.
        uv: the program that locks all of it with its hashes; None to lock nothing.

    Raises:
        UsageError: the wheel is none, or uv finds no packages.
    """
    own, wheels = settings.requirement(), {}
    if wheel is not None:
        if not (wheel.is_file() and wheel.name.startswith("dnworker-") and wheel.suffix == ".whl"):
            raise UsageError(
                f"--wheel {shown(str(wheel), 120)}: this is no wheel of dnworker; `uv build --wheel` makes "
                "dist/dnworker-VERSION-py3-none-any.whl",
                code="DN935",
            )
        wheels[f"wheels/{wheel.name}"] = wheel.read_bytes()
        own = f"./wheels/{wheel.name}{own[own.index('[') : own.index(']') + 1]}"
    text = "".join(f"{line}\n" for line in (own, *requirements))
    if uv is not None:
        text = _locked(text, uv, wheel)
    return Packages(text, wheels)


def _locked(text: str, uv: str, wheel: Path | None) -> str:
    """Have uv name each package with its version and hashes."""
    here = text if wheel is None else text.replace("./wheels/", f"{wheel.resolve().parent}/", 1)
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--no-header"]
    command += ["--no-annotate", "-"] + ([] if wheel is not None else ["--generate-hashes"])
    try:
        ran = subprocess.run(command, input=here, capture_output=True, text=True, timeout=LOCK_WITHIN)
    except subprocess.TimeoutExpired as exc:
        raise UsageError(
            f"uv was still locking after {LOCK_WITHIN:g} s; leave --lock out", code="DN937"
        ) from exc
    if ran.returncode:
        why = next((line for line in ran.stderr.splitlines() if line.strip()), "it says nothing")
        raise UsageError(f"uv cannot lock the packages: {shown(why, 300)}; leave --lock out", code="DN937")
    if wheel is None:
        return ran.stdout
    # uv names the wheel by where it lies on this machine.
    rest = [line for line in ran.stdout.splitlines() if wheel.name not in line]
    return "".join(f"{line}\n" for line in (text.splitlines()[0], *rest))
