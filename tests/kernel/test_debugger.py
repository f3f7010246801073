"""Breakpoints and steps of handlers stop in the cell that waits for them; nothing else changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .session import LIMIT, WAIT, held_within

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

STOPS = (
    "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    x = 41\n    {stop}\n    x += 1\n"
    "    print('x is', x)\n"
)
WAYS = {
    "breakpoint()": "",
    "pdb.set_trace()": "import pdb",
    "set_trace()": "from pdb import set_trace",
    "pdb.Pdb().set_trace()": "import pdb",
    "breakpoint(header='look here')": "",
    "IPython.core.debugger.set_trace()": "import IPython.core.debugger",
    "IPython.core.debugger.Pdb().set_trace()": "import IPython.core.debugger",
}


def plain(text):
    """Return text without a terminal's colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def logs(kernel, worker="bridge"):
    return kernel.run(f"%worker logs {worker}").text


def until_logged(text):
    """Return a cell that ends once a worker's log has this text."""
    return (
        f"import asyncio\nwhile not any({text!r} in line.text for line in dn.runtime().logs.tail(1000)):\n"
        "    await asyncio.sleep(0.01)"
    )


@pytest.mark.parametrize("stop", WAYS)
def test_every_way_to_stop_asks_in_the_cell_that_fired(shared_kernel, stop):
    if WAYS[stop]:
        shared_kernel.run(WAYS[stop])
    shared_kernel.run(STOPS.format(stop=stop))
    reply = shared_kernel.run("%fire a", answers=["p x", "n", "p x * 2", "c"])
    shown = plain(reply.text)
    assert reply.prompts == ["ipdb> "] * 4
    assert "\n41\n" in shown
    assert "\n84\n" in shown
    assert "x += 1" in shown
    assert "| x is 42" in shown
    assert "+ notebook:bridge.on_a  ok" in shown
    assert ("look here" in shown) == ("header" in stop)
    assert "ipdb" not in logs(shared_kernel)
    assert "x += 1" not in logs(shared_kernel)


def test_a_debugger_loaded_within_a_capture_shows_what_it_says_in_the_cell(bare_kernel):
    bare_kernel.run("%%capture\n%load_ext dnworker")
    bare_kernel.run(STOPS.format(stop="breakpoint()"))
    reply = bare_kernel.run("%fire a", answers=["p x", "c"])
    assert "\n41\n" in plain(reply.text)
    assert "| x is 42" in reply.text


@pytest.mark.parametrize("leave", ["q", "exit", "\x04"])
def test_quitting_ends_that_handler_alone_and_nothing_counts_as_failed(shared_kernel, leave):
    shared_kernel.run(
        STOPS.format(stop="breakpoint()")
        + "@worker.on_event('a')\nasync def other(event, client):\n    print('other ran')\n"
    )
    reply = shared_kernel.run("t = %fire a\nprint('after', t.outcome)\nt", answers=[leave])
    assert reply.status == "ok", reply.text
    assert "- notebook:bridge.on_a  cancelled" in reply.text
    assert "on_a was ended in the debugger, in cell [" in reply.text
    assert "| other ran" in reply.text
    assert "after not ok" in reply.text
    assert "Traceback" not in reply.text
    assert "BdbQuit" not in reply.text
    assert shared_kernel.run("await dn.settle()\n'settled'").result == {"text/plain": "'settled'"}
    assert shared_kernel.run("dn.last_failure is None").result == {"text/plain": "True"}


def test_an_interrupt_at_the_prompt_ends_the_handler_and_the_cell_goes_on(kernel):
    kernel.run(STOPS.format(stop="breakpoint()"))

    def interrupt(_):
        kernel.interrupt()

    reply = kernel.run("t = %fire a\nprint('the cell went on')\nt", answers=[interrupt])
    assert reply.status == "ok", reply.text
    assert "the cell went on" in reply.text
    assert "- notebook:bridge.on_a  cancelled" in reply.text
    assert "| x is" in kernel.run("%fire a", answers=["c"]).text


def test_a_handler_that_catches_everything_is_ended_all_the_same(kernel):
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    try:\n        breakpoint()\n"
        "        y = 1\n    except Exception as exc:\n        print('swallowed', exc)\n    finally:\n"
        "        import asyncio; await asyncio.sleep(0); print('tidied')\n"
    )
    reply = kernel.run("%fire a", answers=["q"])
    assert "- notebook:bridge.on_a  cancelled" in reply.text
    assert "| tidied" in reply.text
    assert "| swallowed" not in reply.text


def test_steps_go_across_awaits_while_other_tasks_run(kernel):
    kernel.run("import asyncio\nasync def inner(v):\n    await asyncio.sleep(0.05)\n    return v + 1\n")
    kernel.run(
        "%%worker busy\n@worker.every(seconds=0.01)\nasync def tick(client):\n"
        "    worker.state['n'] = worker.state.get('n', 0) + 1\n"
    )
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    breakpoint()\n"
        "    a = await inner(1)\n    b = await asyncio.wait_for(inner(a), 5)\n    print('b is', b)\n"
    )
    reply = kernel.run("%fire a", answers=["n", "p a", "s", "s", "w", "r", "n", "c"])
    shown = plain(reply.text)
    assert "\n2\n" in shown
    assert "inner(v)" in shown
    assert "weakref" not in shown
    assert "| b is 3" in shown
    assert "tick" not in shown
    assert "base_events" not in shown
    assert "invoker" not in shown
    assert (
        kernel.run("%fire a", answers=["until", "u", "d", "interact", "a = 5", "exit()", "c"]).status == "ok"
    )


def test_typed_python_sees_and_changes_locals_and_its_output_is_the_cells(kernel):
    kernel.run(STOPS.format(stop="breakpoint()"))
    reply = kernel.run("%fire a", answers=["!x = 100", "!print('said', x)", "pp worker.state", "c"])
    assert "said 100" in reply.text
    assert "| x is 101" in reply.text
    assert "said" not in logs(kernel)


def test_a_loop_of_a_thousand_breakpoints_goes_on_and_ends_by_q(kernel):
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n    for i in range(1000):\n"
        "        breakpoint()\n    print('through', i)\n"
    )
    reply = kernel.run("%fire a", answers=["c"] * 1000)
    assert "| through 999" in reply.text
    assert len(reply.prompts) == 1000
    reply = kernel.run("%fire a", answers=["c", "p i", "q"])
    assert "cancelled" in reply.text


def test_each_of_several_fires_stops(kernel):
    kernel.run(STOPS.format(stop="breakpoint()"))
    reply = kernel.run("%fire a --times 3", answers=["c", "q", "c"])
    assert "fired 3 times: 2 ok, 1 not ok" in reply.text


def test_what_nobody_waits_for_is_not_entered_and_the_log_says_once_how_to_stop_there(kernel):
    kernel.run(STOPS.format(stop="breakpoint()"))
    kernel.run("for _ in range(3): await dn.fire('a', wait=False)\nawait dn.settle()")
    said = [line for line in logs(kernel).splitlines() if "not entered" in line]
    assert len(said) == 1
    assert "cell [2], line 5: the breakpoint is not entered: " in said[0]
    assert re.search(r"stop there with %replay #\d+ --debug", said[0])


def test_a_schedule_is_not_entered_unless_a_cell_moves_the_clock(kernel):
    kernel.run("%clock virtual")
    kernel.run(
        "%%worker bridge\n@worker.every(minutes=1)\nasync def tick(client):\n    breakpoint()\n    print('ticked')\n"
    )
    reply = kernel.run("%clock advance 2m", answers=["c", "c"])
    assert reply.prompts == ["ipdb> "] * 2
    kernel.run("%clock real")
    kernel.run(
        "%%worker bridge\n@worker.every(seconds=0.02)\nasync def tick(client):\n    breakpoint()\n    print('t')\n"
    )
    said = "no cell waits for this; stop there with %clock virtual, and then %clock next"
    reply = kernel.run(until_logged(said), answers=[])
    assert reply.status == "ok"


def test_a_front_end_without_input_is_never_asked(kernel):
    kernel.run(STOPS.format(stop="breakpoint()"))
    reply = kernel.run("%fire a")
    assert "| x is 42" in reply.text
    assert "gives no standard input; stop there with %replay #" in reply.text
    refused = kernel.run("%fire a --debug")
    assert refused.status == "error"
    assert "this front end gives no standard input" in refused.text


def test_pythonbreakpoint_is_heeded(kernel):
    kernel.run(
        "import os\ndef mine(*args, **fields): print('mine was called')\nimport sys, types\n"
        "m = types.ModuleType('mymod'); m.mine = mine; sys.modules['mymod'] = m"
    )
    kernel.run(STOPS.format(stop="breakpoint()"))
    kernel.run("os.environ['PYTHONBREAKPOINT'] = '0'")
    assert kernel.run("%fire a", answers=[]).prompts == []
    kernel.run("os.environ['PYTHONBREAKPOINT'] = 'mymod.mine'")
    assert "| mine was called" in kernel.run("%fire a", answers=[]).text
    kernel.run("os.environ['PYTHONBREAKPOINT'] = 'IPython.core.debugger.set_trace'")
    assert kernel.run("%fire a", answers=["c"]).prompts == ["ipdb> "]
    kernel.run("del os.environ['PYTHONBREAKPOINT']")


def test_a_debugger_with_a_socket_of_its_own_is_left_alone(kernel):
    kernel.run(
        "import pdb, io\nclass Remote(pdb.Pdb):\n    def __init__(self):\n"
        "        super().__init__(stdin=io.StringIO('p x\\nc\\n'), stdout=io.StringIO())\n"
    )
    kernel.run(
        STOPS.format(stop="r = Remote(); r.set_trace()").replace(
            "print('x is', x)", "print(r.stdout.getvalue())"
        )
    )
    reply = kernel.run("%fire a", answers=[])
    assert "| ipdb> 41" in reply.text


def test_a_breakpoint_of_a_cell_is_as_it_was(kernel):
    reply = kernel.run("y = 5\nbreakpoint()\nprint('y is', y)", answers=["p y", "c"])
    assert "y is 5" in reply.text
    reply = kernel.run("def f(): breakpoint()\nf()", answers=["q"])
    assert "BdbQuit" in reply.text or reply.status == "ok"


def test_a_thread_is_not_stopped_and_its_place_is_said(kernel):
    kernel.run(
        "%%worker bridge\nimport asyncio\ndef work():\n    breakpoint()\n    return 7\n\n@worker.on_event('a')\n"
        "async def on_a(event, client):\n    print('got', await asyncio.to_thread(work))\n"
    )
    reply = kernel.run("%fire a", answers=[])
    assert "| got 7" in reply.text
    assert "cell [2], line 4: the breakpoint is not entered: it is in a thread" in reply.text


def test_tasks_and_generators_of_a_handler_stop_too_and_q_ends_the_handler(kernel):
    kernel.run(
        "%%worker bridge\nimport asyncio\n\ndef numbers():\n    yield 1\n    breakpoint()\n    yield 2\n\n"
        "async def child():\n    breakpoint()\n    await asyncio.sleep(0)\n    return 5\n\n@worker.on_event('a')\n"
        "async def on_a(event, client):\n    print('sum', sum(numbers()))\n"
        "    async with asyncio.TaskGroup() as group:\n        t = group.create_task(child())\n    print('child', t.result())\n"
    )
    reply = kernel.run("%fire a", answers=["c", "w", "c"])
    assert "| sum 3" in reply.text
    assert "| child 5" in reply.text
    reply = kernel.run("%fire a", answers=["c", "q"])
    assert "- notebook:bridge.on_a  cancelled" in reply.text
    assert "| child" not in reply.text


def test_an_event_that_a_handler_publishes_belongs_to_the_cell_above(kernel):
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client): await client.publish('b', {'n': 1})\n"
        "@worker.on_event('b')\nasync def on_b(event, client):\n    breakpoint()\n    print('b done')\n"
    )
    reply = kernel.run("await dn.fire('a')", answers=["p event.payload", "c"])
    assert "{'n': 1}" in reply.text
    assert kernel.run("%replay last", answers=["c"]).prompts == ["ipdb> "]


def test_a_turn_script_that_a_handler_waits_for_stops(kernel):
    kernel.run("%%agent default\nasync def reply(turn):\n    breakpoint()\n    yield 'hello'\n")
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client):\n"
        "    s = await client.create_session()\n    r = await client.run_turn(session_id=s.session_id, message='hi')\n    print('answered')\n"
    )
    reply = kernel.run("%fire a", answers=["p turn.message", "c"])
    assert "'hi'" in plain(reply.text), reply.text
    assert "| answered" in reply.text


def test_startup_and_shutdown_stop_in_the_cell_that_commits(kernel):
    cell = (
        "%%worker bridge\n@worker.on_startup\nasync def begin(client):\n    breakpoint()\n    worker.state['up'] = 1\n"
        "@worker.on_shutdown\nasync def end(client):\n    breakpoint()\n    print('down')\n"
    )
    assert "bridge is running" in kernel.run(cell, answers=["p worker", "c"]).text
    reply = kernel.run("%worker restart bridge", answers=["c", "c"])
    assert "bridge is running" in reply.text
    assert len(reply.prompts) == 2


def test_quitting_a_startup_fails_that_start_alone(kernel):
    reply = kernel.run(
        "%%worker bridge\n@worker.on_startup\nasync def begin(client):\n    breakpoint()\n    x = 1\n",
        answers=["q"],
    )
    assert reply.status == "error"
    assert "ended in the debugger" in reply.text + logs(kernel)
    assert kernel.run("1 + 1").result == {"text/plain": "2"}


def test_debug_stops_at_the_first_line_of_the_users_own_function(kernel):
    kernel.run(
        "%%worker bridge\nimport functools\ndef timed(f):\n    @functools.wraps(f)\n    async def run(*a):\n"
        "        return await f(*a)\n    return run\n\n@worker.on_event('a')\n@timed\nasync def on_a(event, client):\n"
        "    first = 1\n    second = 2\n@worker.on_event('a')\nasync def plain(event, client):\n    only = 3\n"
    )
    reply = kernel.run("%fire a --debug", answers=["n", "p first", "c", "p event.kind", "c"])
    shown = plain(reply.text)
    assert re.search(r"-+> \d+     first = 1", shown)
    assert "\n1\n" in shown
    assert "\n'a'\n" in shown
    assert len(kernel.run("%replay last --debug --worker bridge", answers=["c", "c"]).prompts) == 2
    assert len(kernel.run("await dn.fire('a', debug=True)", answers=["c", "c"]).prompts) == 2
    assert kernel.run("%fire a", answers=[]).prompts == []


def test_debug_of_a_process_says_the_way_out(kernel):
    kernel.run(
        "%%worker bridge\n@worker.on_event('a')\nasync def on_a(event, client): print('in a process')\n"
    )
    kernel.run("%worker topology bridge python")
    reply = kernel.run("%fire a --debug", answers=[])
    assert (
        "bridge runs as a process, which a cell cannot enter; %worker topology bridge python --debug"
        in reply.text
    )


def test_a_stop_takes_no_time_and_is_no_block(kernel):
    kernel.run("%%worker other\n@worker.on_event('z')\nasync def on_z(event, client): pass\n")
    kernel.run(STOPS.format(stop="breakpoint()"))
    reply = kernel.run("t = %fire a --timeout 4\nt", answers=[WAIT, "n", WAIT, "c"])
    assert "+ notebook:bridge.on_a  ok" in reply.text
    assert "still running" not in reply.text
    took = float(re.search(r"on_a  ok  ([\d.]+) ms", reply.text)[1])
    assert took < 4000  # and not the 5 s of the stops
    shown = logs(kernel, "other")
    assert "paused by cell [4]: notebook:bridge.on_a is in the debugger" in shown
    assert re.search(r"went on after \d\.\d s", shown)
    assert held_within(kernel, "stop") < 1


def test_a_breakpoint_that_is_typed_into_the_debugger_is_refused_in_a_line(kernel):
    kernel.run("def f():\n    breakpoint()\n    return 'f'\n")
    kernel.run(STOPS.format(stop="breakpoint()"))
    reply = kernel.run("%fire a", answers=["p f()", "c"])
    assert "a breakpoint is not entered from within the debugger" in reply.text
    assert "'f'" in reply.text


def test_two_cells_at_once_each_get_their_own_handlers_prompts(kernel):
    subshell = kernel.subshell()
    kernel.run(
        "%%worker bridge\nimport asyncio, os\n@worker.on_event('a')\nasync def on_a(event, client):\n"
        "    while event.payload['n'] == 1 and not os.path.exists('go'): await asyncio.sleep(0.01)\n"
        "    breakpoint()\n    print('done', event.payload['n'])\n"
    )
    if subshell is None:
        pytest.skip("this kernel has no subshells")
    first = kernel.begin("%fire a n=1", allow_stdin=True)
    second = kernel.begin("%fire a n=2", subshell=subshell, allow_stdin=True)
    for cell, said in ((second, "| done 2"), (first, "| done 1")):
        message = kernel.client.get_stdin_msg(timeout=LIMIT)
        assert message["parent_header"]["msg_id"] == cell
        kernel.answer("c")
        assert said in kernel.collect(cell).text
        Path("go").touch()


def test_a_cell_that_has_ended_is_not_asked(kernel):
    kernel.run(
        "%%worker bridge\nimport asyncio\ngo = asyncio.Event()\n@worker.on_event('a')\nasync def on_a(event, client):\n"
        "    await go.wait()\n    breakpoint()\n    print('late')\n"
    )
    kernel.run("task = asyncio.create_task(dn.fire('a'))", answers=[])
    reply = kernel.run("go.set()\nawait task", answers=[])
    assert reply.status == "ok"
    assert "the breakpoint is not entered: the cell that waited for this has ended" in logs(kernel)


def test_unloading_at_the_prompt_leaves_a_kernel_that_works(kernel):
    kernel.run(STOPS.format(stop="breakpoint()"))
    reply = kernel.run("%fire a", answers=["!get_ipython().run_line_magic('unload_ext', 'dnworker')", "c"])
    assert kernel.run("1 + 1").result == {"text/plain": "2"}, reply.text
    left = kernel.run(
        "import bdb, sys\n'dnworker' in sys.breakpointhook.__module__ + bdb.Bdb.set_trace.__module__, sys.gettrace()"
    )
    assert left.result == {"text/plain": "(False, None)"}


def test_a_captured_cell_still_shows_where_it_stops(kernel):
    kernel.run(STOPS.format(stop="breakpoint()"))
    reply = kernel.run("%%capture kept\n%fire a", answers=["p x", "c"])
    assert "\n41" in plain(reply.text)


def test_the_trace_function_that_was_there_is_given_back(kernel):
    kernel.run(STOPS.format(stop="breakpoint()"))
    kernel.run("import sys\ndef tracer(frame, event, arg): return None\nsys.settrace(tracer)")
    kernel.run("%fire a", answers=["n", "n", "n", "c"])
    assert kernel.run("sys.gettrace() is tracer").result == {"text/plain": "True"}


def test_missed_ticks_are_skipped_and_come_in_no_burst(kernel):
    kernel.run(
        "%%worker busy\n@worker.every(seconds=0.2)\nasync def tick(client):\n"
        "    worker.state['n'] = worker.state.get('n', 0) + 1\n"
    )
    kernel.run(STOPS.format(stop="breakpoint()"))
    reply = kernel.run(
        "import time\nbusy = dn.worker('busy')\nt = await dn.fire('a')\n"
        "n, seconds = busy.state.get('n', 0), time.monotonic() - busy.state['ends']",
        answers=[
            "!dn.worker('busy').state['n'] = 0",
            "!__import__('time').sleep(3)",
            "!dn.worker('busy').state['ends'] = __import__('time').monotonic()",
            "c",
        ],
    )
    assert reply.status == "ok", reply.text
    due = kernel.run("n, 2 + seconds / 0.2").result["text/plain"]
    assert kernel.run("n <= 2 + seconds / 0.2").result["text/plain"] == "True", due


def test_every_kernel_stops_steps_quits_and_opens_failures(any_kernel):
    any_kernel.run(
        STOPS.format(stop="breakpoint()")
        + "@worker.on_event('f')\nasync def fails(event, client):\n    wrong = 'this'\n    1 / 0\n"
    )
    reply = any_kernel.run("%fire a", answers=["p x", "n", "p x", "c"])
    assert "\n41\n" in plain(reply.text)
    assert "| x is 42" in reply.text
    assert "on_a was ended in the debugger" in any_kernel.run("%fire a", answers=["q"]).text
    assert "gives no standard input" in any_kernel.run("%fire a").text
    any_kernel.run("%fire f")
    assert "'this'" in any_kernel.run("%debug", answers=["p wrong", "q"]).text
    assert "\n41\n" in plain(any_kernel.run("def f():\n    %fire a\nf()", answers=["p x", "c"]).text)
    interrupted = any_kernel.run("t = %fire a\nprint(t.outcome)", answers=[lambda _: any_kernel.interrupt()])
    assert interrupted.status == "ok", interrupted.text
