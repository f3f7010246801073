"""`scripts/smoke.py` on what is built: with the oldest dependencies here, with the newest on another Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .building import PROJECT, UV, outside, sh

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PYTHONS = ("3.12", "3.13", "3.14")


def another_python() -> str | None:
    """Return the newest other Python that is on this machine: that uv finds, or beside this one."""
    for version in reversed(PYTHONS):
        found = subprocess.run(
            [UV, "python", "find", "--no-python-downloads", version], capture_output=True, text=True
        )
        beside = sorted(Path(sys.base_prefix).parent.glob(f"*{version}.*/bin/python3"))
        if found.returncode == 0 or beside:
            return found.stdout.strip() or str(beside[-1])
    return None


@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"])
def test_the_first_day_works_in_a_clean_environment(wheel, sdist, tmp_path, resolution):
    python = sys.executable if resolution == "lowest-direct" else another_python()
    if python is None:
        pytest.skip("this machine has no other Python; .github/workflows/test.yml tries all of them")
    for file in (wheel, sdist):
        (tmp_path / file.name).symlink_to(file)
    words = (PROJECT / "scripts" / "smoke.py", tmp_path, "--python", python, "--resolution", resolution)
    environment = outside(Path(UV).parent, tmp_path) | {"UV": str(UV)}
    assert "work, Python" in sh(sys.executable, *words, env=environment, cwd=tmp_path)
