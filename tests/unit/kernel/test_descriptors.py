"""What is written to the descriptors 1 and 2: a cell's children that run have it."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from dnworker.core.invocation import Invocation
from dnworker_jupyter.kernel.descriptors import Descriptors


@pytest.fixture
def taken():
    return []


@pytest.fixture
def descriptors(monkeypatch, taken):
    """Descriptors that this thread watches, with one handler that runs."""
    stream = SimpleNamespace(watch_fd_thread=threading.current_thread())
    monkeypatch.setattr(sys, "stdout", stream)
    shell = SimpleNamespace(
        events=SimpleNamespace(register=lambda *hook: None, unregister=lambda *hook: None)
    )
    made = Descriptors(None, shell, lambda *text: taken.append(text))  # type: ignore[arg-type]
    undo = made.install()
    monkeypatch.undo()
    made.follow(Invocation("w", "h", "event"))
    yield made
    for one in undo:
        one()


def test_the_exit_status_of_a_cells_child_is_left_to_who_waits_for_it(descriptors, taken):
    with subprocess.Popen("read x; exit 3", shell=True, stdin=subprocess.PIPE) as process:
        assert not descriptors.take("stdout", "the child's\n")
        assert process.stdin is not None
        process.stdin.close()
        while not descriptors.take("stdout", "the handler's\n"):
            pass
        assert process.returncode is None
        assert process.wait() == 3
    assert [text for _, _, text in taken] == ["the handler's\n"]
    assert descriptors.take("stdout", "more\n")
