"""A kernel that ends, for a request or by SIGTERM, stops its workers in order before."""

from __future__ import annotations

import signal
import time

import pytest

from .session import LIMIT, KernelSession
from .versions import VERSIONS, kernel_python

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

WORKER = """%%worker w
from pathlib import Path

@worker.on_startup
async def begin(client):
    worker.state["file"] = Path("ended")

@worker.on_shutdown
async def end(client):
    import asyncio
    await asyncio.sleep(0.05)  # the loop turns
    with worker.state["file"].open("a") as file:
        file.write("in order\\n")
"""


@pytest.fixture(params=VERSIONS)
def session(request, tmp_path, monkeypatch):
    """A kernel of each ipykernel, which is a process of this one."""
    python = kernel_python(request.param)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    session = KernelSession(str(python))
    assert session.run("%load_ext dnworker").status == "ok"
    yield session
    session.close()


def until_gone(kernel, is_gone, limit=LIMIT):
    """Wait until a kernel has ended; returns how long that took."""
    began = time.monotonic()
    while not is_gone():
        assert time.monotonic() - began < limit, "the kernel did not end"
        time.sleep(0.01)
    return time.monotonic() - began


def ended(tmp_path):
    return (tmp_path / "ended").read_text() if (tmp_path / "ended").exists() else None


def test_a_kernel_that_is_asked_to_end_stops_its_workers_in_order(session, tmp_path):
    assert session.run(WORKER).status == "ok"
    session.manager.shutdown_kernel()
    assert ended(tmp_path) == "in order\n"
    assert not session.manager.is_alive()


def test_a_kernel_that_is_restarted_stops_its_workers_in_order_and_the_next_one_does_too(session, tmp_path):
    assert session.run(WORKER).status == "ok"
    session.manager.restart_kernel()
    assert ended(tmp_path) == "in order\n"
    assert session._is_ready()
    assert session.run("%load_ext dnworker").status == "ok"
    assert session.run(WORKER).status == "ok"
    session.manager.shutdown_kernel()
    assert ended(tmp_path) == "in order\n" * 2


def test_sigterm_stops_workers_in_order_and_ends_the_kernel_as_it_does_without_us(session, tmp_path):
    assert session.run(WORKER).status == "ok"
    process = session.manager.provisioner.process
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == -signal.SIGTERM
    assert ended(tmp_path) == "in order\n"


def test_a_cell_that_holds_the_loop_is_interrupted_for_the_stop(kernel, tmp_path):
    assert kernel.run(WORKER).status == "ok"
    asked = kernel.begin(
        "print('holds')\nimport time\ntry:\n    time.sleep(100)\nexcept KeyboardInterrupt:\n    print('told')"
    )
    kernel.until_stream("holds")
    kernel.begin(WORKER)  # which waits behind it, as in Run All, and must start nothing again
    kernel.client.shutdown()
    assert until_gone(kernel, kernel.manager.is_gone) < 60
    assert ended(tmp_path) == "in order\n"
    assert asked


def test_a_shutdown_handler_that_does_not_end_is_said_and_the_kernel_ends_all_the_same(kernel):
    stubborn = "    while True:\n        try:\n            await asyncio.sleep(100)\n        except BaseException:\n            pass\n"
    cell = "%%worker stubborn\nimport asyncio\n@worker.on_shutdown\nasync def never(client):\n" + stubborn
    assert kernel.run(cell).status == "ok"
    kernel.client.shutdown()
    kernel.until_stream("dnworker: stubborn: shutdown errors: a shutdown handler took longer than", 60)
    until_gone(kernel, kernel.manager.is_gone, 60)


@pytest.mark.parametrize("has_signal", [True, False], ids=["sigterm", "request alone"])
def test_a_cell_that_cannot_be_interrupted_is_named_in_one_line_and_the_kernel_ends(kernel, has_signal):
    assert kernel.run(WORKER).status == "ok"
    kernel.begin(
        "import time\nprint('holds')\nwhile True:\n    try:\n        time.sleep(100)\n"
        "    except KeyboardInterrupt:\n        pass"
    )
    kernel.until_stream("holds")
    kernel.client.shutdown()
    if has_signal:  # which Python may handle only when the cell's `sleep` is over
        kernel.manager.signal_kernel(signal.SIGTERM)
    kernel.until_stream("the kernel ends, and does not wait longer than 4.5 s for: ", 60)
    until_gone(kernel, kernel.manager.is_gone, 60)
    said = [m["content"]["text"] for m in kernel._held if m["msg_type"] == "stream"]
    (line,) = [line for text in said for line in text.splitlines() if "the kernel ends" in line]
    assert "holds the event loop at" in line


def test_a_shutdown_handler_that_raises_as_the_kernel_ends_is_said(kernel):
    assert kernel.run("%%worker w\n@worker.on_shutdown\nasync def end(client):\n    1 / 0").status == "ok"
    kernel.client.shutdown()
    kernel.until_stream("dnworker: w: shutdown errors: end: division by zero")
    until_gone(kernel, kernel.manager.is_gone)


def test_shutdown_handlers_have_the_names_of_their_cell_when_the_extension_is_unloaded(kernel, tmp_path):
    assert kernel.run(WORKER).status == "ok"
    gone = "%unload_ext dnworker\nimport asyncio, pathlib\nwhile not pathlib.Path('ended').exists(): await asyncio.sleep(0.01)"
    assert kernel.run(gone).status == "ok"
    assert ended(tmp_path) == "in order\n"


def test_a_forked_child_that_is_ended_stops_nothing(kernel, tmp_path):
    assert kernel.run(WORKER).status == "ok"
    code = (
        "import os, signal, time\nready, here = os.pipe()\nif (child := os.fork()) == 0:\n"
        "    os.write(here, b'1')  # a signal that comes before is lost: Python forgets those of its parent\n"
        "    time.sleep(100)\n    os._exit(1)\nos.read(ready, 1)\n"
        "os.kill(child, signal.SIGTERM)\nprint(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert kernel.run(code).text.strip() == f"-{signal.SIGTERM:d}"
    assert ended(tmp_path) is None
    assert "running" in kernel.run("%worker").text


def test_unloading_gives_the_signal_and_the_request_back(kernel):
    kernel.run("%unload_ext dnworker")
    said = kernel.run(
        "import signal\nprint(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, 'do_shutdown' in "
        "vars(get_ipython().kernel))"
    )
    assert said.text.split() == ["True", "False"]
