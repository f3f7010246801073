"""Plain IPython in a real terminal, whose loop does not turn at the prompt."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading

import pexpect
import pytest

from dnworker import Runtime

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

PROMPT = r"In \[\d+\]: "


class Terminal:
    """IPython at a pseudo terminal; `send` types a line and returns what was shown until the next prompt."""

    def __init__(self, home):
        flags = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", "--no-confirm-exit"]
        environ = {**__import__("os").environ, "HOME": str(home)}
        self.child = pexpect.spawn(
            sys.executable,
            flags,
            encoding="utf8",
            timeout=200,
            cwd=str(home),
            env=environ,
            dimensions=(50, 200),
        )
        self.child.expect(PROMPT)
        self.marks = 0

    def send(self, text):
        """Type lines, and return everything shown until they are dealt with."""
        self.marks += 1
        self.child.sendline(text)
        return self.until_done()

    def until_done(self):
        """Return what is shown until everything typed so far is dealt with."""
        self.child.sendline(f"print('done' + '-{self.marks}')")
        self.child.expect(rf"done-{self.marks}\r\n")
        return self.child.before


@pytest.fixture
def terminal(tmp_path):
    started = Terminal(tmp_path)
    assert "lives on a thread of its own" in started.send("%load_ext dnworker")
    started.send("bee = dn.worker('bee')")
    yield started
    started.child.close(force=True)


def test_workers_live_at_the_prompt_and_what_they_say_is_in_the_trace(terminal):
    terminal.send("@bee.on_event('a')\nasync def h(event, client): print('heard', event.payload)\n")
    terminal.send(
        "@bee.every(seconds=0.05)\nasync def tick(client): bee.state['t'] = bee.state.get('t', 0) + 1\n"
    )
    shown = terminal.send("%fire a x=1")
    assert re.search(r"\+ notebook:bee\.h  ok.*\s+\| heard \{'x': 1\}", shown)
    assert shown.count("heard") == 1
    before = ticks(terminal)
    terminal.send(f"import time\nwhile bee.state['t'] < {before} + 5: time.sleep(0.01)\n")
    assert ticks(terminal) >= before + 5  # at the prompt, between the cells
    assert "notebook:bee  running" in terminal.send("%panel")
    assert "trace.ok is True" in terminal.send("trace = %fire a x=2\n") + terminal.send(
        "print('trace.ok is', trace.ok)"
    )


def ticks(terminal):
    return int(re.search(r"ticks=(\d+)", terminal.send("print('ticks=' + str(bee.state['t']))"))[1])


def test_a_plain_function_waits_for_what_it_fires(terminal):
    terminal.send("@bee.on_event('a')\nasync def h(event, client): print('heard', event.payload)\n")
    terminal.send("def f():\n    %fire a n=1\n    t = %fire a n=2\n    return t.ok, t.event.payload\n")
    shown = terminal.send("f()")
    assert "| heard {'n': 1}" in shown
    assert "(True, {'n': 2})" in shown
    assert "| heard {'n': 3}" in terminal.send("%time %fire a n=3")
    assert "Wall time" in terminal.send("%time t = %fire a n=4")


def test_ctrl_c_stops_the_handler_that_holds_the_loop_and_nothing_else(terminal):
    terminal.send(
        "@bee.on_event('spin')\nasync def spin(event, client):\n    print('spinning', flush=True)\n    while True: pass\n"
    )
    terminal.send("@bee.on_event('fine')\nasync def fine(event, client): print('still here')\n")
    terminal.send("%worker")
    terminal.send("import threading, time, os, signal; watch = dn._active().watch")
    terminal.send(
        "def press():\n    while watch.block is None: time.sleep(0.05)\n    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    shown = terminal.send("threading.Thread(target=press).start()\n%fire spin")
    assert "HandlerInterrupted: interrupted by the user" in shown
    assert "| still here" in terminal.send("%fire fine")


def test_the_clock_and_the_doctor_work_and_leaving_leaves_nothing(terminal):
    terminal.send("@bee.every(minutes=1)\nasync def tick(client): print('ticked')\n")
    terminal.send("%clock virtual")
    assert terminal.send("%clock advance 3m").count("ticked") == 3
    assert "in a terminal; the runtime lives on a thread of its own" in terminal.send("%runtime doctor")
    terminal.send("%unload_ext dnworker")
    assert "here" in terminal.send("print('here')")
    terminal.child.sendline("exit")
    terminal.child.expect(pexpect.EOF)
    terminal.child.wait()
    assert terminal.child.exitstatus == 0


def test_a_check_runs_at_the_prompt_and_says_what_it_waits_for(terminal):
    terminal.send(
        "@bee.on_event('demo.asked')\nasync def h(event, client): await client.publish('demo.answered', {'n': 1})\n"
    )
    terminal.send("%fire demo.asked")
    told = terminal.send("%capability check --topology in-process --target dnworker")
    assert "waiting for bee to start" in told
    assert "1 event fired: notebook and export do the same" in told


def test_the_command_line_shows_a_bar_in_a_terminal_and_takes_it_away(tmp_path):
    cell = "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    pass"
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": cell}]}))
    words = ["-m", "dnworker", "export", "n.ipynb", "-o", "out", "--topology", "python", "--check"]
    child = pexpect.spawn(sys.executable, words, encoding="utf8", timeout=200, cwd=str(tmp_path))
    child.expect(re.escape("export: [....................] 0/1 waiting for bridge to start"))
    child.expect(r"\r\x1b\[K" + "capability out is in out")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_ctrl_c_ends_a_startup_that_hangs_and_the_worker_runs_as_before(terminal):
    terminal.send("import asyncio")
    terminal.send("@bee.on_event('a')\nasync def h(event, client): print('heard')\n")
    terminal.child.sendline("@bee.on_startup\nasync def begin(client): await asyncio.Event().wait()\n")
    terminal.child.expect("bee waits for on_startup begin")
    terminal.child.sendintr()
    terminal.child.expect("the startup of worker 'bee' was interrupted; generation 2 runs on, with its state")
    assert "| heard" in terminal.send("%fire a")


STOPS = "@bee.on_event('a')\nasync def h(event, client):\n    x = 41\n    breakpoint()\n    x += 1\n    print('x is', x)\n"


def at_prompt(terminal, text):
    """Type a line at the debugger's prompt, and return what is shown until it asks again."""
    terminal.child.sendline(text)
    terminal.child.expect("ipdb> ")
    return terminal.child.before


def test_a_breakpoint_stops_at_the_prompt_of_the_terminal(terminal):
    terminal.send(STOPS)
    terminal.marks += 1
    terminal.child.sendline("%fire a")
    terminal.child.expect("ipdb> ")
    assert "x += 1" in terminal.child.before
    assert "41" in at_prompt(terminal, "p x")
    assert "42" in at_prompt(terminal, "n") + at_prompt(terminal, "p x")
    terminal.child.sendline("c")
    assert "| x is 42" in terminal.until_done()


def test_ctrl_c_at_the_debuggers_prompt_ends_that_handler_alone(terminal):
    terminal.send(STOPS)
    terminal.marks += 1
    terminal.child.sendline("t = %fire a")
    terminal.child.expect("ipdb> ")
    terminal.child.sendintr()
    terminal.until_done()
    assert "it is not ok" in terminal.send("print('it is', t.outcome)")
    assert "x is" not in terminal.send("%worker logs bee")


def test_debug_opens_a_failed_handler_in_the_terminal(terminal):
    terminal.send("@bee.on_event('f')\nasync def f(event, client):\n    wrong = 'this'\n    1 / 0\n")
    assert "opens the frame that raised" in terminal.send("%fire f")
    terminal.child.sendline("%debug")
    terminal.child.expect("ipdb> ")
    assert "'this'" in at_prompt(terminal, "p wrong")
    terminal.child.sendline("q")
    assert "here" in terminal.send("print('here')")


def test_what_is_shown_right_after_load_ext_waits_for_the_runtime(tmp_path):
    terminal = Terminal(tmp_path)
    try:
        shown = terminal.send("%load_ext dnworker\nprint(dn.map(0).mermaid, dn.panel(), 'is shown')")
        assert "is shown" in shown
        assert "Error" not in shown
    finally:
        terminal.child.close(force=True)


def test_a_terminal_shows_both_sides_as_text_and_says_that_it_is_live(terminal, tmp_path):
    async def place(n):
        await remote.fire("demo.asked", {"n": n})

    def do(coro):
        return asyncio.run_coroutine_threadsafe(coro, loop).result(60)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    remote = Runtime(port=0, token="s3cret-of-the-other")
    try:
        do(remote.start())
        (tmp_path / "token").write_text("s3cret-of-the-other")
        (tmp_path / "token").chmod(0o600)
        terminal.send(
            "@bee.on_event('demo.asked')\nasync def h(event, client): await client.publish('demo.b', {})\n"
        )
        shown = terminal.send(f"%runtime attach {remote.url} --token-file token")
        assert f"attached to {remote.url} in shadow" in shown
        terminal.send(until("state == 'following'"))
        do(place(1))
        terminal.send(until("score.total == 1 and not dn.runtime().attachment.score.pending"))
        assert "+ publishes demo.b {}" in terminal.send("%runtime attach")
        assert "was attached to" in terminal.send("%runtime detach")
        terminal.send(f"%runtime attach {remote.url} --token-file token --live")
        for line in ("%panel", "%worker", "%runtime", "%fire demo.none"):
            assert f"LIVE at {remote.url}" in terminal.send(line)
        terminal.send("%runtime detach")
    finally:
        do(remote.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def until(condition):
    """Return the lines that wait at the prompt until something holds of the attachment."""
    return f"import time\nwhile not (dn.runtime().attachment.{condition}): time.sleep(0.01)\n"
