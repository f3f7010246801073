"""The pipes of handlers' children, also where the machine has no more to give."""

from __future__ import annotations

import errno
import os
import selectors
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.engine.unhandled import start_on_behalf
from dnworker_jupyter.kernel.child_output import ChildOutput

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")


def descriptors() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def invocation():
    one = Invocation("w", "h", "event")
    token = current_invocation.set(one)
    yield one
    current_invocation.reset(token)


def failing(function: Any, at: int, error: Exception) -> Any:
    """Return a function that raises at one of its calls."""
    calls = iter(range(at + 1))

    def call(*args: Any, **fields: Any) -> Any:
        if next(calls, None) == at:
            raise error
        return function(*args, **fields)

    return call


MANY = OSError(errno.EMFILE, "Too many open files")
LIMITS = {
    "the first pipe": (os, "pipe", 0, MANY),
    "the second pipe": (os, "pipe", 1, MANY),
    "the selector": (selectors, "DefaultSelector", 0, MANY),
    "the thread": (threading.Thread, "start", 0, RuntimeError("can't start new thread")),
}


@pytest.mark.parametrize(("owner", "name", "at", "error"), LIMITS.values(), ids=LIMITS)
def test_no_descriptor_is_left_open_where_a_process_cannot_start(
    monkeypatch, invocation, owner, name, at, error
):
    ended = threading.Event()
    output = ChildOutput(lambda *what: None)
    watch = output._watch
    monkeypatch.setattr(output, "_watch", lambda: (watch(), ended.set()))
    undo = output.install()
    before = descriptors()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing(getattr(owner, name), at, error))
            with pytest.raises(type(error)):
                subprocess.Popen(["true"])
        if at:
            assert ended.wait(60)
        assert descriptors() == before
        ended.clear()
        subprocess.Popen(["true"]).wait()  # and the next one can
        assert ended.wait(60)
    finally:
        for one in reversed(undo):
            one()


def test_the_thread_that_reads_runs_on_nobodys_behalf(monkeypatch, invocation):
    seen: list[Invocation | None] = []
    ended = threading.Event()
    output = ChildOutput(lambda *what: None)
    watch = output._watch

    def watching() -> None:
        seen.append(current_invocation.get())
        watch()
        ended.set()

    monkeypatch.setattr(output, "_watch", watching)
    monkeypatch.setattr(threading.Thread, "start", start_on_behalf(threading.Thread.start))
    os.close(output.open(invocation, "stdout"))
    assert ended.wait(60)
    assert seen == [None]
