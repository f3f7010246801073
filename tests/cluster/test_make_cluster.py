"""`make cluster`: servers and nodes start, say where they are, and all end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "scripts" / "cluster.py"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def processes(said: str) -> list[int]:
    """Return the ids of the nodes' processes."""
    return [int(number) for number in re.findall(r", process (\d+)", said)]


def are_gone(ids: list[int]) -> bool:
    """Return whether no process of these ids is there."""
    return not any(Path(f"/proc/{number}").exists() for number in ids)


@pytest.mark.parametrize("servers", ["1", "3"])
def test_it_runs_for_a_time_and_leaves_nothing(servers, tmp_path):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--servers", servers, "--for", "3"],
        env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(processes(done.stdout)) == 3
    assert are_gone(processes(done.stdout))
    assert "dnworker panel --url http://127.0.0.1:" in done.stdout
    assert [*tmp_path.iterdir()] == []


def test_ctrl_c_ends_all_of_it(tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), "--no-browser"],
        env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said = ""
        while "Ctrl-C ends all of it" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert len(processes(said)) == 3
    assert are_gone(processes(said))
    assert [*tmp_path.iterdir()] == []
