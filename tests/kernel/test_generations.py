"""Generations of a worker in a real kernel: which handlers run, and what happens when a new one cannot start."""

from __future__ import annotations

import re

import pytest

from .test_surface import viewing

pytestmark = pytest.mark.kernel

TWO = """
%%worker w
@worker.on_event('a')
async def _(event, client):
    print('first')

@worker.on_event('a')
async def _(event, client):
    print('second')
    raise ValueError('of the second')
""".strip()


def test_two_handlers_of_one_name_both_fire_and_are_told_apart_everywhere(kernel):
    told = kernel.run(TWO, "c1").text
    assert "+ on_event a: _\n" in told
    assert "+ on_event a: _#2\n" in told
    assert "more than once" not in told
    trace = kernel.run("%fire a").text
    assert trace.index("| first") < trace.index("| second")
    assert "w._ ok" in trace.replace("  ", " ")
    assert "w._#2 error" in trace.replace("  ", " ")
    table = kernel.run("%worker w").text
    rows = [line.split() for line in table.splitlines() if "on_event" in line]
    rows = [row[row.index("on_event") :] for row in rows]  # a failing one has a mark before it
    assert [(row[2], row[5], row[6]) for row in rows] == [("_", "1", "0"), ("_#2", "1", "1")]
    assert "_#2 failed (event #" in kernel.run("%worker logs w").text


def test_a_later_cell_takes_nothing_over_but_what_it_declares_alike(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): print('of a')", "c1")
    told = kernel.run("%%worker w\n@worker.on_event('b')\nasync def h(e, c): print('of b')", "c2").text
    assert "runs on beside this one (on_event a)" in told
    kernel.run("%%worker w\n@worker.every(seconds=60)\nasync def h(c): pass", "c3")
    assert "| of a" in kernel.run("%fire a").text
    assert "| of b" in kernel.run("%fire b").text
    again = kernel.run("%%worker w\n@worker.on_event('b')\nasync def h(e, c): print('newer')", "c4").text
    assert "on_event b: h, in place of cell" in again
    fired = kernel.run("%fire b").text
    assert "| newer" in fired
    assert "of b" not in fired
    assert "| of a" in kernel.run("%fire a").text


def test_rolling_back_brings_both_handlers_of_one_name_back(kernel):
    kernel.run(TWO, "c1")
    kernel.run(TWO.partition("\n\n")[0], "c1")
    assert "second" not in kernel.run("%fire a").text
    kernel.run("%worker rollback w")
    fired = kernel.run("%fire a").text
    assert "| first" in fired
    assert "| second" in fired


OLD = """
%%worker w
import asyncio
worker.state['seed'] = 1

@worker.on_startup
async def begin(client):
    worker.state['began'] = 'old'

@worker.on_shutdown
async def end(client):
    print('the old one ends')

@worker.task
async def watch(client):
    worker.state['watching'] = worker.state.get('watching', 0) + 1
    await asyncio.Event().wait()

@worker.every(seconds=3600)
async def tick(client):
    pass

@worker.on_event('slow')
async def slow(event, client):
    await go_on.wait()
    worker.state['slow'] = 'ended'
    print('slow has ended', sorted(worker.state))

@worker.on_event('a')
async def on_a(event, client):
    worker.state['n'] = worker.state.get('n', 0) + 1
    print('old', sorted(worker.state.items(), key=str))
""".strip()


def with_startup(body: str) -> str:
    """The worker's cell with another startup, and with handlers that say so."""
    old = "    worker.state['began'] = 'old'\n"
    assert old in OLD
    return OLD.replace(old, body).replace("print('old'", "print('new'").replace("the old one", "the new one")


def runs_on(kernel) -> None:
    """Check that the old generation runs with all that it had: state, task, schedule, what is under way."""
    fired = kernel.run("%fire a").text
    assert "| old [('began', 'old'), ('n', 2), ('seed', 1), ('watching', 1)]" in fired, fired
    assert "the old one ends" not in kernel.run("%worker logs w").text
    kernel.run("go_on.set()\ntry: await dn.settle()\nexcept Exception: pass  # the startup has failed")
    assert "slow has ended" in kernel.run("%worker logs w").text
    assert "stale: its cell failed when it ran again" in kernel.run("%worker w").text
    assert kernel.run("print(dn.runtime().worker('w').generation)").text.strip() == "1"


def begin_old(kernel) -> None:
    kernel.run("import asyncio\ngo_on = asyncio.Event()")
    assert "w is running, generation 1" in kernel.run(OLD, "c1").text
    kernel.run("%fire a")
    kernel.run("%fire slow --no-wait")


def test_a_startup_that_raises_leaves_the_old_generation_as_it_was(kernel):
    begin_old(kernel)
    failed = kernel.run(
        with_startup("    worker.state['n'] = 'lost'\n    raise KeyError('no token')\n"), "c1"
    )
    assert failed.status == "error"
    assert "worker 'w': on_startup begin raised KeyError: 'no token' (cell [" in failed.error
    assert "generation 1 runs on, with its state" in failed.error
    runs_on(kernel)
    kernel.run(with_startup("    worker.state['began'] = 'new'\n"), "c1")
    fired = kernel.run("%fire a").text
    assert "| new [('began', 'new'), ('n', 1), ('seed', 1), ('watching', 1)]" in fired, fired
    assert "the old one ends" in kernel.run("%worker logs w").text


def test_a_startup_that_hangs_says_what_it_waits_for_and_is_interrupted(kernel):
    begin_old(kernel)
    hanging = kernel.begin(with_startup("    await asyncio.Event().wait()\n"), "c1")
    kernel.until_stream("waits")
    kernel.interrupt()
    answer = kernel.collect(hanging)
    assert re.search(
        r"w waits for on_startup begin \(cell \[\d+\], line 5\), since \d\d:\d\d:\d\d; Ctrl-C stops it, "
        "and generation 1 runs on",
        answer.text,
    ), answer.text
    assert answer.status == "error"
    assert "the startup of worker 'w' was interrupted; generation 1 runs on, with its state" in answer.error
    runs_on(kernel)


def test_a_startup_that_blocks_the_loop_can_be_interrupted(kernel):
    begin_old(kernel)
    viewing(kernel)
    blocking = kernel.begin(with_startup("    import time\n    time.sleep(600)\n"), "c1")
    kernel.until_comm("paused")
    kernel.interrupt()
    answer = kernel.collect(blocking)
    assert answer.status == "error"
    assert "generation 1 runs on, with its state" in answer.error
    runs_on(kernel)


@pytest.mark.parametrize("blocks", ["time.sleep(600)", "while True: pass"], ids=["sleeps", "computes"])
def test_code_of_a_cell_that_blocks_the_loop_is_interrupted_where_it_stands(kernel, blocks):
    begin_old(kernel)
    stop = "import os, signal, threading, time\nthreading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()"
    answer = kernel.run(
        f"%%worker w\n{stop}\n@worker.on_event('new')\nasync def h(e, c): pass\n{blocks}\n", "c2"
    )
    assert answer.error.startswith("KeyboardInterrupt")
    shown = re.sub(r"\x1b\[[\d;]*m", "", answer.text)
    assert re.search(rf"-+> 6 {re.escape(blocks)}\n*KeyboardInterrupt", shown), shown
    assert kernel.run("%fire a").text.count("old [") == 1


def test_a_rollback_whose_startup_raises_leaves_what_runs(kernel):
    kernel.run("fails = False")
    cell = "%%worker w\n@worker.on_startup\nasync def begin(c):\n    {}\n@worker.on_event('a')\nasync def h(e, c): print('{}')"
    kernel.run(cell.format("if fails: raise ValueError('not twice')", "first"), "c1")
    kernel.run(cell.format("pass", "second"), "c1")
    kernel.run("fails = True")
    answer = kernel.run("%worker rollback w")
    assert "on_startup begin raised ValueError: not twice" in answer.error
    assert "generation 2 runs on" in answer.error
    assert "| second" in kernel.run("%fire a").text


PORT = """
%%worker w
import asyncio
@worker.on_startup
async def begin(client):
    worker.state['server'] = await asyncio.start_server(lambda r, w: None, '127.0.0.1', port)
    {more}

@worker.on_shutdown
async def end(client):
    if 'server' in worker.state:
        worker.state['server'].close()

@worker.on_event('a')
async def on_a(event, client):
    print('{who}', worker.state['server'].sockets[0].getsockname()[1] == port)
""".strip()
FREE = (
    "import socket\nwith socket.socket() as s:\n    s.bind(('127.0.0.1', 0))\n    port = s.getsockname()[1]"
)


def test_a_startup_that_needs_the_port_of_the_old_generation_gets_it(kernel):
    kernel.run(FREE)
    kernel.run(PORT.format(more="pass", who="old"), "c1")
    told = kernel.run(PORT.format(more="pass", who="new"), "c1")
    assert told.status == "ok", told.error
    assert "generation 2" in told.text
    assert "| new True" in kernel.run("%fire a").text


def test_the_old_generation_starts_again_where_it_had_to_stop_first(kernel):
    kernel.run(FREE)
    kernel.run(PORT.format(more="pass", who="old"), "c1")
    failed = kernel.run(PORT.format(more="raise ValueError('after all')", who="new"), "c1")
    assert "on_startup begin raised ValueError: after all" in failed.error
    assert "generation 1 was stopped for it, and is started again, with its state" in failed.error
    assert "| old True" in kernel.run("%fire a").text


def test_a_generation_whose_gate_is_closed_ends_the_one_before_and_says_so(kernel):
    kernel.run("%%capability\nname: demo\nversion: 0.1.0\ndescription: d\nflags:\n  beta: {description: f}")
    kernel.run(OLD, "c1")
    told = kernel.run(
        with_startup("    raise ValueError\n").replace("%%worker w", "%%worker w --when beta"), "c1"
    )
    assert told.status == "ok"
    assert "w is gated_off" in told.text
    assert "beta" in told.text
    assert "the old one ends" in kernel.run("%worker logs w").text


def test_a_process_that_does_not_come_up_leaves_the_worker_as_it_ran_before(kernel):
    cell = "%%worker w\n@worker.on_startup\nasync def begin(client):\n    import os\n    {}\n@worker.on_event('a')\nasync def h(event, client): print('{}')"
    kernel.run(
        cell.format(
            "if 'DNWORKER_REPORTS' in os.environ or os.environ.get('DREADNODE_WORKER_NAME'): raise ValueError('not as a process')",
            "here",
        ),
        "c1",
    )
    moved = kernel.run("%worker topology w python")
    assert "ValueError: not as a process" in moved.error
    assert "generation 1, in-process, was stopped for it, and is started again" in moved.error
    assert "| here" in kernel.run("%fire a").text
    kernel.run(cell.format("pass", "first"), "c1")
    assert "w is running, as a process (python)" in kernel.run("%worker topology w python").text
    failed = kernel.run(cell.format("raise ValueError('no token')", "second"), "c1")
    assert "ValueError: no token" in failed.error
    assert "was stopped for it, and is started again" in failed.error
    assert "| first" in kernel.run("%fire a").text


def test_a_process_that_hangs_in_its_startup_says_so_and_can_be_interrupted(kernel):
    cell = "%%worker w\nimport asyncio\n@worker.on_startup\nasync def begin(client):\n    {}\n@worker.on_event('a')\nasync def h(event, client): print('{}')"
    kernel.run(cell.format("pass", "first"), "c1")
    kernel.run("%worker topology w python")
    hanging = kernel.begin(cell.format("await asyncio.Event().wait()", "second"), "c1")
    kernel.until_stream("w waits for its process")
    kernel.interrupt()
    answer = kernel.collect(hanging)
    assert "the start of worker 'w' was interrupted; generation" in answer.error
    assert "| first" in kernel.run("%fire a").text


def test_a_worker_stopped_while_its_next_generation_starts_is_stopped(kernel):
    begin_old(kernel)
    kernel.run(
        "async def stop():\n    while dn.runtime().worker('w').starting is None: await asyncio.sleep(0.01)\n"
        "    await dn.runtime().worker('w').stop()\n_ = asyncio.ensure_future(stop())"
    )
    answer = kernel.run(with_startup("    await asyncio.Event().wait()\n"), "c1")
    assert "the startup of worker 'w' was ended: the worker was stopped" in answer.error
    assert "w is stopped" in kernel.run("%worker stop w").text
    assert "w is running" in kernel.run("%worker start w").text
    assert "| old" in kernel.run("%fire a").text


def test_no_event_is_missed_or_handled_twice_while_a_generation_takes_over(kernel):
    count = (
        "%%worker w\nimport asyncio\n@worker.on_startup\nasync def begin(client):\n    await asyncio.sleep(0.2)  # {}\n"
        "@worker.on_shutdown\nasync def end(client): await asyncio.sleep(0.2)\n"
        "@worker.on_event('a')\nasync def h(event, client): heard.append(event.payload['n'])"
    )
    kernel.run("heard = []\nimport asyncio", "c0")
    kernel.run(count.format(1), "c1")
    kernel.run(
        "async def publish():\n    for n in range(100):\n        dn.runtime().publish('a', {'n': n})\n        await asyncio.sleep(0.01)\n"
        "_ = asyncio.ensure_future(publish())"
    )
    assert "generation 2" in kernel.run(count.format(2), "c1").text
    kernel.run("await _\nawait dn.settle()")
    assert kernel.run("print(heard == list(range(100)), heard)").text.startswith("True")


def test_a_startup_finds_the_state_of_its_own_generation_by_every_name(kernel):
    kernel.run(OLD.replace("await go_on.wait()", "pass"), "c1")
    kernel.run("w = dn.worker('w')")
    kernel.run(
        with_startup(
            "    w.state['by handle'] = 1\n    worker.state['by name'] = 2\n"
            "    async def later(): worker.state['by task'] = 3\n    await asyncio.create_task(later())\n"
        ).replace("await go_on.wait()", "pass"),
        "c1",
    )
    fired = kernel.run("%fire a").text
    assert (
        "| new [('by handle', 1), ('by name', 2), ('by task', 3), ('n', 1), ('seed', 1), ('watching', 1)]"
        in fired
    )


def test_a_first_startup_that_is_interrupted_says_so_without_our_traceback(kernel):
    hanging = kernel.begin(
        "%%worker w\nimport asyncio\n@worker.on_startup\nasync def begin(client):\n"
        "    print('begun')\n    await asyncio.Event().wait()",
        "c1",
    )
    kernel.until_stream("w waits for on_startup begin")
    kernel.interrupt()
    answer = kernel.collect(hanging)
    assert "the start of worker 'w' was interrupted; it has no earlier generation" in answer.error
    assert "dnworker_jupyter/" not in answer.text
    assert (
        "w is running" in kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): pass", "c1").text
    )


def test_in_every_kernel_a_startup_that_hangs_says_so_in_its_cell_and_is_interrupted(any_kernel):
    cell = "%%worker w\nimport asyncio\n@worker.on_startup\nasync def begin(c):\n    {}\n@worker.on_event('a')\nasync def h(e, c): print('{}')"
    any_kernel.run(cell.format("pass", "first"), "c1")
    hanging = any_kernel.begin(cell.format("await asyncio.Event().wait()", "second"), "c1")
    any_kernel.until_stream("w waits for on_startup begin")
    any_kernel.interrupt()
    answer = any_kernel.collect(hanging)
    assert "w waits for on_startup begin" in answer.text  # in its own cell
    assert "was interrupted; generation 1 runs on, with its state" in answer.error
    assert "| first" in any_kernel.run("%fire a").text
