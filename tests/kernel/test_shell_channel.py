"""A request that comes while an answer is sent: kernels of ipykernel 7.0 to 7.3 never read it by themselves."""

from __future__ import annotations

import pytest

from .session import KernelSession
from .versions import kernel_python

pytestmark = [pytest.mark.kernel]

HOLD = """import select, threading
_kernel, _hooked, _armed = get_ipython().kernel, threading.Event(), []
_answers = _kernel.shell_channel_thread.manager._main_to_shell_channel.to_stream
_send = _answers._recv_callback

def _hold(answer):
    if _armed:
        _armed.clear()
        print('held', flush=True)
        select.select([_kernel.shell_stream.socket.FD], [], [], 60)
    return _send(answer)

def _hook():
    _answers.on_recv(_hold, copy=False)
    _hooked.set()

_kernel.shell_channel_thread.io_loop.add_callback(_hook)
_hooked.wait(60)"""
"""Lets the answer of the cell that arms it wait until another request is at the socket, of which nobody was told."""


@pytest.fixture
def kernel_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    opened = []

    def open_(version: str) -> KernelSession:
        opened.append(KernelSession(str(kernel_python(version))))
        return opened[-1]

    yield open_
    for session in opened:
        session.close()


@pytest.mark.parametrize("version", ["7.3", "7.4"])
def test_a_request_that_comes_while_an_answer_is_sent_is_answered(kernel_of, version):
    kernel = kernel_of(version)
    assert kernel.run("%load_ext dnworker").status == "ok"
    assert kernel.run(HOLD).status == "ok"
    first = kernel.begin("_armed.append(True)\n'first'")
    kernel.until_stream("held")
    behind = kernel.begin("'behind'")
    assert kernel.collect(first).text.endswith("'first'")
    assert kernel.collect(behind).text == "'behind'"
