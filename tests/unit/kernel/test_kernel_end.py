"""The kernel ends, whatever a step of its end raises."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
import threading
from types import SimpleNamespace

import pytest

from dnworker_jupyter.kernel import kernel_end
from dnworker_jupyter.kernel.kernel_end import KernelEnd
from dnworker_jupyter.kernel.loop import KernelLoop

STEPS = ["left", "last", "flush"]


def raises(*_):
    raise RuntimeError("as asked")


@pytest.fixture
def quick(monkeypatch):
    """An end that gives up at once, and sends its signals into a list."""
    sent = []
    for name in ("PATIENCE", "NAMED", "LIMIT", "SENT_WITHIN"):
        monkeypatch.setattr(kernel_end, name, 0.01)
    monkeypatch.setattr(kernel_end, "_interrupt_main_thread", lambda: None)
    monkeypatch.setattr(kernel_end.os, "kill", lambda pid, number: sent.append(number))
    return sent


def kernel_that_hangs(failing: str, done: list[str]):
    """Return a kernel and its end: the runtime never stops, and one step raises."""
    kernel = SimpleNamespace(do_shutdown=lambda restart: {"restart": restart})
    end = KernelEnd(
        SimpleNamespace(kernel=kernel),
        KernelLoop(SimpleNamespace(kernel=kernel)),
        lambda within: asyncio.sleep(0),
        left=raises if failing == "left" else lambda: ["w"],
        last=raises if failing == "last" else lambda: done.append("last"),
    )
    end._since = 0.0  # as if the loop were held, so that nothing has stopped in time
    return kernel, end


@pytest.mark.parametrize("failing", STEPS)
def test_a_signal_ends_the_process_whatever_a_step_raises(failing, quick, monkeypatch, caplog):
    done = []
    _, end = kernel_that_hangs(failing, done)
    if failing == "flush":
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(flush=raises, write=lambda text: None))
    end._end_by(signal.SIGTERM)
    assert quick == [signal.SIGTERM]
    assert "as asked" in caplog.text
    assert done == ([] if failing == "last" else ["last"])


def test_a_signal_ends_the_process_where_its_output_is_closed(quick, monkeypatch):
    done = []
    _, end = kernel_that_hangs("", done)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    monkeypatch.setattr(sys, "stdout", None)
    end._end_by(signal.SIGTERM)
    assert (quick, done) == ([signal.SIGTERM], ["last"])


@pytest.mark.parametrize("broken", ["_wait", "_begin"])
async def test_a_request_reaches_the_kernel_whatever_the_stop_raises(broken, quick, monkeypatch, caplog):
    kernel, end = kernel_that_hangs("", [])
    monkeypatch.setattr(signal, "getsignal", lambda number: None)  # SIGTERM stays with who handles it
    monkeypatch.setattr(end, broken, raises)
    undo = end.install()
    assert await kernel.do_shutdown(True) == {"restart": True}
    undo()
    assert "as asked" in caplog.text


def until_ended():
    """Wait for the threads that send signals, before these are real ones again."""
    for thread in threading.enumerate():
        if thread.name == "dnworker end":
            thread.join()


@pytest.mark.parametrize("has_stopped", [False, True])
async def test_a_request_ends_the_process_itself_where_the_loop_is_held(has_stopped, quick, monkeypatch):
    kernel, end = kernel_that_hangs("", done := [])
    monkeypatch.setattr(signal, "getsignal", lambda number: None)  # SIGTERM stays with who handles it
    monkeypatch.setattr(end, "_begin", end._has_stopped.set if has_stopped else lambda: None)
    undo = end.install()
    assert await kernel.do_shutdown(False) == {"restart": False}
    if not has_stopped:
        end._end_apart(signal.SIGTERM)  # one that comes as well, and late
    until_ended()
    undo()
    assert (quick, done) == (([], []) if has_stopped else ([signal.SIGKILL], ["last"]))


def test_an_interrupt_that_comes_with_the_signal_does_not_keep_the_kernel_from_its_end(quick, monkeypatch):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # another test may have left another one
    _, end = kernel_that_hangs("none", done := [])
    begin = end._begin
    monkeypatch.setattr(end, "_begin", lambda: (signal.raise_signal(signal.SIGINT), begin()))
    try:
        with pytest.raises(KeyboardInterrupt):  # it means what it means, once the end has begun
            end._on_signal(signal.SIGTERM, None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        until_ended()
    assert quick == [signal.SIGTERM]
    assert done == ["last"]
