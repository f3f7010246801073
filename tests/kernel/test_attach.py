"""A notebook attached to a real `dnworker serve`: judged on its traffic, live, over a kill, and left as it was."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from dnworker import RuntimeClient

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]

TOKEN = "s3cret-word-of-the-runtime"

PRICER = """%%worker pricer
@worker.on_event("order.placed")
async def on_placed(event: EventEnvelope, client: RuntimeClient) -> None:
    total = event.payload["qty"] * 3
    await client.publish("order.priced", {"id": event.payload["id"], "total": total})
"""
CHANGED = PRICER.replace("* 3\n", "* 3\n    if event.payload['qty'] >= 10:\n        total -= 1\n")

UNTIL = """import asyncio
async with asyncio.timeout(120):
    while not ({}):
        await asyncio.sleep(0.02)
"""
A = "dn.runtime().attachment"


class Served:
    """A real runtime with an exported worker; it has one port and one token, however often it starts."""

    def __init__(self, capability, home) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.token_file = home / "token"
        self.token_file.write_text(TOKEN)
        self.token_file.chmod(0o600)
        self._capability, self._home = capability, home
        self.process = None

    def start(self) -> None:
        """Start it, and return when its worker runs."""
        command = [sys.executable, "-m", "dnworker", "serve", str(self._capability), "--port", str(self.port)]
        command += ["--token-file", str(self.token_file), "--journal", str(self._home / "served.db")]
        with (self._home / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                text=True,
            )
        said = ""
        while "shop:pricer is running" not in said:
            said = self.process.stdout.readline()
            assert said, (self._home / "serve.log").read_text()

    def _client(self) -> RuntimeClient:
        return RuntimeClient(self.url, auth_token=TOKEN)

    def place(self, *quantities: int) -> list[int]:
        """Publish an order each; returns their numbers."""

        async def publish() -> list[int]:
            async with self._client() as client:
                return [
                    (await client.publish("order.placed", {"id": n, "qty": qty}))["seq"]
                    for n, qty in enumerate(quantities)
                ]

        return asyncio.run(publish())

    def kill(self) -> None:
        """End it as a crash does, with its workers."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def served(kernel, tmp_path):
    """The worker of a cell, exported and served."""
    assert kernel.run(PRICER, "c1").status == "ok"
    assert kernel.run("%capability export shop --topology in-process --target dnworker").status == "ok"
    one = Served(tmp_path / "shop", tmp_path)
    one.start()
    yield one
    one.kill()


def recorded(served, kind):
    """Return the payloads of a kind that the served runtime has recorded."""

    async def read():
        async with RuntimeClient(served.url, auth_token=TOKEN) as client:
            found = await client._call("GET", "/api/history/envelopes", query={"kind": kind, "last": 1000})
            return [one["payload"] for one in found["envelopes"]]

    return asyncio.run(read())


def until(kernel, condition):
    """Return once a condition holds in the kernel; what is asked of it may raise until then."""
    reply = kernel.run(UNTIL.format(condition))
    assert reply.status == "ok", reply.text


def attach(kernel, served, options=""):
    reply = kernel.run(f"%runtime attach {served.url} --token-file token {options}")
    assert reply.status == "ok", reply.text
    until(kernel, f"{A}.state == 'following'")
    return reply


def test_a_change_is_judged_on_what_a_served_runtime_gets_then_runs_live_and_leaves_nothing(kernel, served):
    assert kernel.run(CHANGED, "c1").status == "ok"
    shown = attach(kernel, served)
    assert "in shadow" in shown.text

    placed = served.place(1, 12, 3, 10, 2, 20)
    until(kernel, f"{A}.score.total == 6 and not {A}.score.pending")
    differ = kernel.run(f"print([row.event.seq for row in {A}.rows(only_different=True)])")
    assert differ.text.strip() == str([placed[1], placed[3], placed[5]])
    side_by_side = kernel.run("%runtime attach --only-different")
    assert "3 different, 3 same" in side_by_side.text
    assert re.search(r"- publishes order\.priced .*36", side_by_side.text)
    assert re.search(r"\+ publishes order\.priced .*35", side_by_side.text)
    assert "text/html" in side_by_side.displays[-1]
    totals = [36, 30, 60, 3, 9, 6]
    assert sorted(one["total"] for one in recorded(served, "order.priced")) == sorted(totals)

    fired = kernel.run("%fire order.placed id=9 qty=100")
    assert "in shadow of" in fired.text
    assert "fired here alone" in fired.text
    assert len(recorded(served, "order.priced")) == 6

    came_to = kernel.run("%runtime detach")
    assert "3 different, 3 same" in came_to.text
    assert "attached to nothing" in kernel.run("%runtime attach").text

    attach(kernel, served, "--live")
    assert "LIVE at" in kernel.run("%runtime status").text
    assert "LIVE at" in kernel.run("%worker").text
    served.place(50)
    until(kernel, f"{A}.received == 1 and not {A}.waiting")
    assert sorted(one["total"] for one in recorded(served, "order.priced"))[-2:] == [149, 150]
    assert "#b3161f" in str(kernel.run("%runtime attach").displays[-1]["text/html"])
    kernel.run("%runtime detach")

    served.place(70)
    kernel.run("%fire order.placed id=9 qty=100")
    assert 299 not in [one["total"] for one in recorded(served, "order.priced")]
    left = kernel.run(
        "import asyncio\nprint([t.get_name() for t in asyncio.all_tasks() if 'attach' in t.get_name()], "
        "dn.runtime().switch.route)"
    )
    assert left.text.strip() == "[] None"


def test_a_served_runtime_that_is_killed_is_lost_and_followed_again_by_itself(kernel, served):
    attach(kernel, served)
    served.place(1)
    until(kernel, f"{A}.score.same == 1")
    served.kill()
    until(kernel, f"{A}.state == 'lost'")
    assert re.search(r"lost since \d\d:\d\d:\d\d: ", kernel.run("%runtime status").text)
    served.start()
    until(kernel, f"{A}.state == 'following'")
    assert "lost since" not in kernel.run("%runtime status").text
    served.place(2, 3)
    until(kernel, f"{A}.score.same == 3")
    shown = kernel.run("%runtime attach")
    assert "3 same" in shown.text
    kernel.run("%runtime detach")


@pytest.mark.parametrize("end", ["%runtime stop", "%unload_ext dnworker", "%reload_ext dnworker"])
def test_what_ends_the_runtime_ends_the_attachment(kernel, served, end):
    attach(kernel, served, "--live")
    kernel.run(f"kept = {A}")
    assert kernel.run(end).status == "ok"
    if end == "%reload_ext dnworker":
        until(kernel, "kept.state == 'following'")  # a reload keeps what runs
        return
    reply = kernel.run(UNTIL.format("kept.state == 'ended'"))
    assert reply.status == "ok", reply.text


def test_a_kernel_that_ends_leaves_no_connection(kernel, served):
    attach(kernel, served, "--live")
    kernel.client.shutdown()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not kernel.manager.is_gone():
        time.sleep(0.05)
    served.place(5)
    assert [one["total"] for one in recorded(served, "order.priced")] == [15]


MISTAKES = {
    "%runtime attach {url}": "token",
    "%runtime attach {url} --token-file wrong": "token",
    "%runtime attach {url} --token-file missing": "missing",
    "%runtime attach http://127.0.0.1:9 --token-file token": "no runtime answers at http://127.0.0.1:9",
    "%runtime attach {url}/?token=s3cret-word-of-the-runtime": "the URL must have no token",
    "%runtime attach nonsense --token-file token": "'nonsense' is no address of a runtime",
    "await dn.attach(dn.runtime().url)": "",
}


def test_a_mistake_is_one_line_changes_nothing_and_is_no_obstacle(kernel, served, tmp_path):
    (tmp_path / "wrong").write_text("nothing-like-it")
    (tmp_path / "wrong").chmod(0o600)
    for line, why in MISTAKES.items():
        refused = kernel.run(line.format(url=served.url))
        assert refused.status == "error", line
        assert why in refused.text
        assert "Traceback" not in refused.text
        said = [one for one in refused.text.strip().splitlines() if not one.startswith("    at cell")]
        assert len(said) == 1, said
        assert TOKEN not in refused.text
        assert "attached to nothing" in kernel.run("%runtime attach").text
    attach(kernel, served)
    kernel.run("%runtime detach")


def test_the_token_is_in_no_output_and_in_no_widget(kernel, served):
    replies = [attach(kernel, served)]
    served.place(12)
    until(kernel, f"{A}.score.total == 1 and not {A}.score.pending")
    lines = (
        "%runtime attach",
        "%runtime status",
        "%panel",
        "%fire order.placed id=1 qty=1",
        f"print(vars({A}))",
    )
    replies += [kernel.run(line) for line in (*lines, "%runtime detach")]
    said = str([(one.text, one.displays, one.result) for one in replies]) + str(kernel.comms)
    assert TOKEN not in said


def test_a_function_attaches_and_detaches_as_the_magic_does(kernel, served):
    shown = kernel.run(f"view = await dn.attach({served.url!r}, token_file='token')\nview")
    assert "in shadow" in shown.text
    until(kernel, "view.attachment.state == 'following'")
    served.place(1)
    until(kernel, "view.attachment.score.same == 1")
    detached = kernel.run("await dn.detach()\nprint(view.attachment.state)")
    assert detached.streams["stdout"].strip() == "ended"
    assert "1 same" in detached.displays[-1]["text/plain"]  # it stays where the widget was


def test_cells_run_workers_restart_and_are_exported_meanwhile_and_what_cannot_be_is_refused(kernel, served):
    attach(kernel, served)
    assert kernel.run("%worker restart pricer").status == "ok"
    assert kernel.run(CHANGED, "c1").status == "ok"
    assert kernel.run("%capability export again --topology in-process --target dnworker").status == "ok"
    for line in ("%clock virtual", "%runtime durable", "%runtime join nats://127.0.0.1:1 --namespace n"):
        refused = kernel.run(line)
        assert refused.status == "error"
        assert "first: %runtime detach" in refused.text
    served.place(20)
    until(kernel, f"{A}.score.different == 1")
    assert [one["total"] for one in recorded(served, "order.priced")] == [60]
    new_kind = "%%worker audit\n@worker.on_event('order.priced')\nasync def on_priced(event, client): print(event.payload)\n"
    assert kernel.run(new_kind, "c2").status == "ok"
    served.place(1)  # the follower is told that another kind is listened to
    until(kernel, f"any(row.worker.endswith(':audit') for row in {A}.rows())")
    kernel.run("%runtime detach")
