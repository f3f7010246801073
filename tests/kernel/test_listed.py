"""A notebook is in the list of running runtimes, by which `dnworker ps` finds it, for as long as it runs."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from dnworker.cli.running import entries, running

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
    listed = kernel.run("!{__import__("sys").executable} -m dnworker ps --json").text
    assert '"is_notebook": true' in listed
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
