"""Output, buttons, blocking and interrupts on every ipykernel whose ways differ."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

SPEAKER = """
%%worker speaker
import asyncio, contextlib, io, logging, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor
from IPython.display import HTML, clear_output, display
from IPython.utils.capture import capture_output
from loguru import logger
from rich.console import Console

early = Console()

@worker.on_event("speak")
async def speak(event, client):
    print("printed")
    print("to stderr", file=sys.stderr)
    logging.getLogger("x").warning("logged")
    logger.info("by loguru")
    warnings.warn("warned")
    early.print("by rich")
    thread = threading.Thread(target=print, args=["from a thread"])
    thread.start()
    thread.join()
    with ThreadPoolExecutor() as pool:
        pool.submit(print, "from a pool").result()
    await asyncio.to_thread(print, "from to_thread")
    await asyncio.create_task(child())
    with contextlib.redirect_stdout(io.StringIO()) as buffer:
        print("redirected")
        await asyncio.sleep(0.01)
    with capture_output() as captured:
        print("captured")
        display(1)
        await asyncio.sleep(0.01)
    display(HTML("<b>shown</b>"))
    clear_output()
    print("kept", repr(buffer.getvalue()), repr(captured.stdout), len(captured.outputs))
    raise KeyError("and raised")

async def child():
    print("from a task")
""".strip()

SAID = (
    "printed",
    "to stderr",
    "logged",
    "by loguru",
    "UserWarning: warned",
    "by rich",
    "from a thread",
    "from a pool",
    "from to_thread",
    "from a task",
    "| shown",
    "kept 'redirected\\n' 'captured\\n' 1",
    "KeyError: 'and raised'",
)


def test_everything_a_handler_says_is_echoed_by_its_fire_and_lands_nowhere_else(any_kernel):
    defined = any_kernel.run(SPEAKER)
    assert defined.status == "ok", defined.text
    answer = any_kernel.run("%fire speak --session s1")
    (shown,) = answer.displays
    for said in SAID:
        assert said in shown["text/plain"], said
    assert answer.streams == {}


def test_what_a_handler_says_while_a_cell_captures_is_not_the_cells(any_kernel):
    any_kernel.run(SPEAKER)
    answer = any_kernel.run(
        "import contextlib, io\nfrom IPython.utils.capture import capture_output\nbuffer = io.StringIO()\n"
        "with contextlib.redirect_stdout(buffer):\n    await dn.fire('speak')\n    print('of the cell')\n"
        "with capture_output() as held:\n    await dn.fire('speak')\n    print('of the cell too')\n"
        "print(repr(buffer.getvalue()), repr(held.stdout), len(held.outputs), sys.stdout is sys.__stdout__)"
    )
    assert answer.streams == {"stdout": "'of the cell\\n' 'of the cell too\\n' 0 False\n"}


def test_lines_of_the_log_carry_invocation_event_and_level(any_kernel):
    any_kernel.run(SPEAKER)
    answer = any_kernel.run(
        "trace = await dn.fire('speak')\n(run,) = trace.invocations\n"
        "lines = dn.runtime().logs.tail(100, 'notebook:speaker')\n"
        "mine = [n for n in lines if n.event_id == trace.event.event_id]\n"
        "print(len(mine) == len({n.number for n in mine}) > 12)\n"
        "print({n.invocation_id for n in mine} == {mine[0].invocation_id})\n"
        "print([n.level for n in mine if n.text == 'logged'], [n.source for n in mine if n.source == 'display'])"
    )
    assert answer.streams["stdout"] == "True\nTrue\n['warning'] ['display', 'display']\n"


@pytest.fixture
def panel(any_kernel):
    """What a view of the panel says, and a worker to drive."""
    any_kernel.run("%%worker driven\n@worker.on_event('a')\nasync def h(e, c): pass")
    return viewing(any_kernel)


def viewing(any_kernel):
    """Open a view of the panel; returns what sends its messages."""
    comm = any_kernel.run("print(dn.panel().comm.comm_id)").text.strip()
    any_kernel.comms.clear()

    def say(type_, subshell=None, **fields):
        any_kernel.send_to_comm(comm, {"type": type_, "view": "v", **fields}, subshell)

    say("hello", parts=["log"])
    any_kernel.until_comm("snapshot")
    return say


def test_a_button_works_at_once_while_the_kernel_is_idle(any_kernel, panel):
    subshell = any_kernel.subshell() if any_kernel.version.startswith("7") else None
    panel("control", subshell, verb="stop", worker="notebook:driven", id=1)
    any_kernel.until_comm("ack", id=1)
    any_kernel.until_comm("done", id=1)
    assert re.search(r"driven +stopped", any_kernel.run("%worker").text)
    panel("control", subshell, verb="start", worker="notebook:driven", id=2)
    any_kernel.until_comm("done", id=2)


def test_a_button_pressed_while_a_cell_holds_the_loop_waits_and_then_works(any_kernel, panel):
    subshell = any_kernel.subshell() if any_kernel.version.startswith("7") else None
    busy = any_kernel.begin(
        "import time, pathlib\nwhile not pathlib.Path('pressed').exists(): time.sleep(0.05)"
    )
    while "], line 2" not in (any_kernel.until_comm("paused")["by"] or ""):  # a slow machine has others
        pass
    panel("control", subshell, verb="stop", worker="notebook:driven", id=3)
    if any_kernel.version == "7.3":  # its callback runs beside the cell, and so can say why it waits
        assert "cell [" in any_kernel.until_comm("queued", id=3)["by"]
    Path("pressed").touch()
    any_kernel.until_comm("done", id=3)
    assert any_kernel.until_comm("paused")["by"] is None
    assert any_kernel.collect(busy).status == "ok"
    Path("pressed").unlink()


def test_a_trace_is_shown_in_the_panel(any_kernel, panel):
    fired = any_kernel.run("print((await dn.fire('a')).event.event_id)").text.strip()
    panel("look", part="run", wanted={"event": fired})
    while "run" not in (update := any_kernel.until_comm("update")):
        pass
    assert [row["type"] for row in update["run"]["rows"]] == ["event", "call"]


BLOCKER = """
%%worker blocker
import time
@worker.on_event("block")
async def block(event, client):
    time.sleep(600)
@worker.on_event("block.below")
async def below(event, client):
    await asyncio.create_task(spin())
@worker.on_event("fine")
async def fine(event, client):
    print("still here")
import asyncio
async def spin():
    while True: pass
""".strip()


@pytest.mark.parametrize("kind", ["block", "block.below"])
def test_interrupt_stops_the_handler_that_holds_the_loop_and_nothing_else(any_kernel, kind):
    any_kernel.run(BLOCKER)
    viewing(any_kernel)
    firing = any_kernel.begin(f"%fire {kind}")
    any_kernel.until_comm("paused")
    any_kernel.interrupt()
    answer = any_kernel.collect(firing)
    assert answer.status == "ok", answer
    assert "Interrupt" in answer.text
    assert "holds the loop" in answer.text or kind == "block.below"
    assert "still here" in any_kernel.run("%fire fine").text
    assert re.search(r"blocker +running", any_kernel.run("%worker").text)
    assert "was interrupted" in any_kernel.run("await dn.settle()").error


def test_interrupt_stops_a_runaway_handler_while_no_cell_runs(any_kernel):
    any_kernel.run(BLOCKER)
    viewing(any_kernel)
    any_kernel.run(
        "import asyncio; _ = asyncio.get_running_loop().call_later(0.2, dn.runtime().publish, 'block')"
    )
    any_kernel.until_comm("paused")
    any_kernel.interrupt()
    text = any_kernel.run("%worker blocker").text
    assert "KeyboardInterrupt" in text
    any_kernel.run("try:\n    await dn.settle()\nexcept Exception as exc: print(exc)")


def test_interrupt_cancels_a_cell_that_awaits_and_leaves_workers_and_processes_alone(any_kernel):
    Path("cap").mkdir(exist_ok=True)
    Path("cap/capability.yaml").write_text(
        "schema: 1\nname: cap\nversion: 0.1.0\ndescription: d\nworkers:\n  s: {command: sleep, args: ['1000']}\n"
    )
    any_kernel.run(BLOCKER)
    any_kernel.run("%capability load cap")
    pid = int(any_kernel.run("print(dn.runtime().worker('s').detail()['process']['pid'])").text)
    waiting = any_kernel.begin("print('begun', flush=True)\nimport asyncio\nawait asyncio.sleep(60)")
    any_kernel.until_stream("begun")
    any_kernel.interrupt()
    assert any_kernel.collect(waiting).status == "error"
    assert psutil.pid_exists(pid)
    assert "still here" in any_kernel.run("%fire fine").text


def test_a_blocked_loop_is_explained_and_missed_ticks_are_counted(any_kernel):
    any_kernel.run("%%worker ticker\n@worker.every(seconds=0.2)\nasync def tick(client): pass")
    any_kernel.run("import time\n\ntime.sleep(2.5)")
    text = any_kernel.run("%worker logs ticker").text
    assert re.search(r"paused \d+\.\d s by cell \[\d+\], line 3", text)
    missed = any_kernel.run(
        "import asyncio\n(stats,) = dn.runtime().worker('ticker').stats.values()\n"
        "while stats.missed < 5: await asyncio.sleep(0.01)"
    )
    assert missed.status == "ok", missed.text


def test_errors_of_tasks_and_threads_that_nobody_awaits_are_raised_by_settle(any_kernel):
    any_kernel.run(
        "%%worker stray\nimport asyncio, threading\n@worker.on_event('stray')\nasync def stray(event, client):\n"
        "    asyncio.create_task(boom())\n    thread = threading.Thread(target=lambda: 1 / 0)\n"
        "    thread.start()\n    thread.join()\nasync def boom():\n    raise ValueError('lost?')"
    )
    any_kernel.run("%fire stray")
    answer = any_kernel.run("await dn.settle()")
    assert answer.status == "error"
    assert "a task it started): ValueError: lost?" in answer.text
    assert "ZeroDivisionError" in answer.text
    assert "threading.py" not in any_kernel.run("%worker logs stray").text


def test_what_schedules_tasks_and_their_threads_say_is_in_the_log_with_its_invocation(any_kernel):
    any_kernel.run(
        "%%worker rhythm\nimport asyncio, threading\nsaid = asyncio.Event()\n"
        "@worker.every(seconds=0.05)\nasync def tick(client):\n    print('ticked')\n"
        "    threading.Thread(target=print, args=['from the thread of a schedule']).start()\n"
        "@worker.task\nasync def keep(client):\n    print('kept')\n    await asyncio.Event().wait()\n"
    )
    answer = any_kernel.run(
        "import asyncio\ndef said():\n    return {n.text: n.invocation_id for n in dn.runtime().logs.tail(50, 'notebook:rhythm')}\n"
        "async with asyncio.timeout(120):\n    while len(said()) < 3: await asyncio.sleep(0.02)\n"
        "print(sorted(said()), all(said().values()))"
    )
    assert answer.streams["stdout"] == "['from the thread of a schedule', 'kept', 'ticked'] True\n"
    any_kernel.run("%worker remove rhythm")


def test_a_picture_that_a_handler_displays_is_in_log_panel_and_trace(any_kernel, panel):
    picture = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    any_kernel.run(
        f"%%worker painter\nimport base64\nfrom IPython.display import Image, display\n@worker.on_event('paint')\n"
        f"async def paint(event, client): display(Image(base64.b64decode('{picture}')))"
    )
    html = any_kernel.run("%fire paint x=1").displays[-1]["text/html"]
    assert f"src='data:image/png;base64,{picture}'" in html
    any_kernel.comms.clear()
    panel("hello", parts=["log"])
    lines = any_kernel.until_comm("snapshot")["log"]["lines"]
    assert [n["image"] for n in lines if n["image"]] == [f"data:image/png;base64,{picture}"]
