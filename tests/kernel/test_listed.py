"""A notebook is in the list of running runtimes, by which `dnworker ps` finds it, for as long as it runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnworker.engine.running import entries, running

pytestmark = [pytest.mark.kernel]


def until(state) -> None:
    deadline = time.monotonic() + 20
    while not state():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_notebook_is_found_until_its_runtime_stops(kernel):
    kernel.run("%worker")
    until(running)
    (entry,) = running()
    assert entry.is_notebook
    assert entry.url == kernel.run("%runtime url").text.strip().replace("\x1b[0m", "")
    assert (
        Path(entry.token_file).read_text().strip()
        not in Path(entry.token_file).with_suffix(".json").read_text()
    )
    ps = [sys.executable, "-m", "dnworker", "ps", "--json"]
    listed = subprocess.run(ps, capture_output=True, text=True, timeout=60, check=True).stdout
    assert '"is_notebook": true' in listed
    said = kernel.run(f"!{' '.join(ps)}").text
    assert "its kernel waits for the command: run it in a terminal" in said
    kernel.run("%runtime stop")
    assert running() == []
    assert not Path(entry.token_file).exists()
    kernel.run("%worker")
    until(running)


def test_the_entry_of_a_killed_kernel_is_removed_by_who_looks(kernel):
    kernel.run("%worker")
    until(running)
    kernel.manager.signal_kernel(signal.SIGKILL)
    until(lambda: not any(one.is_alive for _, one in entries()) or not entries())
    assert running() == []
    assert entries() == []
