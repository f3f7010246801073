"""`%runtime durable`: what handlers of a kernel had not ended when it was killed, its next life handles."""

from __future__ import annotations

import os
import signal
from contextlib import closing

import pytest

from .session import KernelSession

pytestmark = pytest.mark.timeout(180)

CELL = """%%worker bridge
@worker.on_event("demo.go")
async def on_go(event, client):
    worker.state.setdefault("seen", []).append((event.payload["n"], event.replay, event.delivery))
    if event.payload["hold"] and event.delivery == 1:
        import asyncio
        await asyncio.Event().wait()
"""

SEEN = "print(dn.worker('bridge').state.get('seen'))"
UNTIL = (
    "import asyncio\nwhile len(dn.worker('bridge').state.get('seen', ())) < {}: await asyncio.sleep(0.01)\n"
    + SEEN
)


def test_what_a_killed_kernel_had_not_handled_its_next_life_gets(kernel, tmp_path):
    file = tmp_path / "events.db"
    assert kernel.run(CELL).status == "ok"
    said = kernel.run(f"%runtime durable {file}")
    assert f"events are kept in {file} until workers have handled them" in said.text
    assert "kept in a file" in kernel.run("%runtime doctor").text
    kernel.run("await dn.fire('demo.go', {'n': 1, 'hold': False})")
    kernel.run("await dn.fire('demo.go', {'n': 2, 'hold': True}, wait=False)")
    assert "(2, False, 1)" in kernel.run(UNTIL.format(2)).text
    # It is done by itself 50 ms later, and may be on its way now: what comes after is on disk after it.
    kernel.run(
        "broker = dn._active().runtime.bus.broker\nawait broker._flush()\nawait broker.do(lambda connection: None)"
    )
    os.kill(int(kernel.run("import os; print(os.getpid())").text), signal.SIGKILL)
    with closing(KernelSession()) as next_life:
        assert next_life.run("%load_ext dnworker").status == "ok"
        assert next_life.run(f"%runtime durable {file}").status == "ok"
        assert next_life.run(CELL).status == "ok"
        assert next_life.run(UNTIL.format(1)).text.strip() == "[(2, True, 2)]"


def test_a_file_that_cannot_be_used_leaves_the_runtime_as_it_was(kernel, tmp_path):
    file = tmp_path / "text.db"
    file.write_bytes(b"no database" * 1000)
    assert kernel.run(CELL).status == "ok"
    refused = kernel.run(f"%runtime durable {file}")
    assert refused.status == "error"
    assert "text.db" in refused.text
    assert "Traceback" not in refused.text
    _fires(kernel)


def test_it_is_turned_off_again(kernel, tmp_path):
    assert kernel.run(CELL).status == "ok"
    assert kernel.run(f"%runtime durable {tmp_path / 'events.db'}").status == "ok"
    assert "kept in memory again" in kernel.run("%runtime durable off").text
    assert "kept in memory" in kernel.run("%runtime doctor").text
    _fires(kernel)


def test_a_durable_runtime_that_was_stopped_starts_again(kernel):
    assert kernel.run(CELL).status == "ok"
    assert kernel.run("%runtime durable").status == "ok"
    assert kernel.run("%runtime stop").status == "ok"
    _fires(kernel)


def _fires(kernel):
    fired = kernel.run("%fire demo.go n=1 hold=false")
    assert fired.status == "ok"
    assert "+ notebook:bridge.on_go  ok" in fired.text
