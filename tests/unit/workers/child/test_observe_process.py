"""Workers of the SDK report whatever their process does: to its output, to its Workers, by a fork."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dnworker.core.handlers import HandlerKey
from dnworker.workers.reports import Begin, End, Hello, Notice, Ran
from dnworker.workers.subprocess_worker import CHILD_HOOK

from .sdk import HEAD, TAIL, WORD, WORKER, Child, run, write_sdk


@pytest.fixture
def root(tmp_path):
    return write_sdk(tmp_path)


def names(child):
    return [one.key.name for one in child.of(Begin, Ran)]


# -- several Workers -------------------------------------------------------------------------------------


def test_a_worker_made_anew_after_one_that_failed_reports_in_its_place(root):
    script = """
first = Worker(name="first")

@first.on_startup
async def start(client):
    raise OSError("not yet")

try:
    first.run()
except OSError:
    print("again")

@worker.on_event("a")
async def on_a(event, client):
    print("got it")

EVENTS = [event("a", 1)]
"""
    child = run(root, script)
    assert [one.handlers for one in child.of(Hello)] == [
        [HandlerKey("on_startup", "", "start")],
        [HandlerKey("on_event", "a", "on_a")],
    ]
    assert names(child) == ["start", "on_a"]
    assert child.of(Notice) == []
    assert child.owners()["got it"].id == child.of(Begin, Ran)[-1].id
    assert [one.outcome for one in child.of(End)] == ["error", "ok"]


def test_a_worker_that_runs_again_is_reported_once_a_run(root):
    script = """
@worker.on_event("a")
async def on_a(event, client): ...

EVENTS = [event("a", 1)]
worker.run()
"""
    child = run(root, script)
    assert names(child) == ["on_a"] * 2
    assert child.of(Notice) == []


def test_of_two_workers_for_the_same_kinds_at_once_no_reports_are_waited_for(root):
    script = """
other = Worker(name="other")

@other.on_event("a")
async def others(event, client): ...

@worker.on_event("a")
async def on_a(event, client): ...

@worker.on_startup
async def first(client):
    await other._run_until(None)

EVENTS = [event("a", 1)]
"""
    child = run(root, script)
    (notice,) = child.of(Notice)
    assert notice.is_over
    assert notice.text == "other runs without reporting: only one Worker of a process reports at a time"
    assert child.code == 0


def test_a_handler_registered_while_the_worker_runs_is_not_waited_for(root):
    script = """
@worker.on_event("a")
async def on_a(event, client): ...

@worker.on_startup
async def up(client):
    @worker.on_event("a")
    async def more(event, client):
        print("more")

EVENTS = [event("a", 1)]
"""
    child = run(root, script)
    assert "more" in child.text
    assert [(one.key.name, one.delivered) for one in child.of(Begin, Ran)][-1] == ("on_a", True)


# -- its output ------------------------------------------------------------------------------------------


def test_a_worker_whose_output_is_no_file_says_why_it_is_not_observed(root):
    script = """
class Tee:
    def write(self, text): return len(text)
    def flush(self): ...
sys.stdout = Tee()

@worker.on_startup
async def start(client):
    os.write(2, b"ran\\n")
"""
    child = run(root, script)
    assert child.text == "ran\n"
    (notice,) = child.of(Notice)
    assert notice.is_over
    assert "'Tee' object has no attribute 'fileno'" in notice.text


@pytest.mark.parametrize("sdk", [WORKER, WORKER.replace("_run_until", "_run_to")])
def test_nothing_is_reported_where_the_output_leads_to_another_than_the_runtime(tmp_path, sdk):
    root = write_sdk(tmp_path, worker=sdk)
    script = "@worker.on_startup\nasync def start(client):\n    print('ran')\n"
    child = run(root, script, DNWORKER_OUTPUT="1:2")
    assert child.output == b"ran\n"


def test_a_quiet_worker_does_not_wait_for_a_reader_of_its_reports(root):
    script = """
@worker.on_event("a")
async def on_a(event, client):
    await asyncio.sleep(0)

@worker.on_event("done")
async def done(event, client):
    os.write(2, b"done\\n")
    sys.stdin.readline()

EVENTS = [*(event("a", n) for n in range(3_000)), event("done", 1)]
"""
    (root / "w.py").write_text(HEAD + script + TAIL)
    environ = {"PYTHONPATH": f"{CHILD_HOOK}:{root}", "DNWORKER_REPORTS": WORD, "DNWORKER_OBSERVE": "1"}
    command = [sys.executable, str(root / "w.py")]
    with subprocess.Popen(command, env=environ, stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stderr.readline() == b"done\n"  # nobody has read its output
        output, _ = process.communicate(b"\n", timeout=60)
    child = Child(process.returncode, output)
    begun = child.of(Begin, Ran)
    assert [one.key.name for one in begun].count("on_a") == 3_000
    assert child.text == ""


@pytest.mark.parametrize("blocks", [True, False])
def test_text_does_not_cut_a_report_in_two_where_the_pipe_is_full(root, blocks):
    script = """
@worker.on_event("a")
async def on_a(event, client):
    raise ValueError("x" * 9_000)

@worker.on_event("full")
async def full(event, client):
    os.write(2, b"full\\n")
    sys.stdin.readline()
    print("text")

EVENTS = [*(event("a", n) for n in range(30)), event("full", 1)]
"""
    blocking = f"import logging\nos.set_blocking(1, {blocks})\nsys.stderr = open(os.devnull, 'w')\n"
    (root / "w.py").write_text(HEAD + script + blocking + TAIL)
    environ = {"PYTHONPATH": f"{CHILD_HOOK}:{root}", "DNWORKER_REPORTS": WORD, "DNWORKER_OBSERVE": "1"}
    command = [sys.executable, str(root / "w.py")]
    with subprocess.Popen(command, env=environ, stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stderr.readline() == b"full\n"
        output, _ = process.communicate(b"\n", timeout=60)
    child = Child(process.returncode, output)
    assert child.text == "text\n"
    assert len([one for one in child.of(End) if one.outcome == "error"]) == 30


# -- long reports ----------------------------------------------------------------------------------------

GROUP = """
def fails(text):
    try:
        raise ValueError(text)
    except ValueError as exc:
        return exc

@worker.on_event("a")
async def on_a(event, client):
    def deep(count):
        if count:
            return deep(count - 1)
        groups = [ExceptionGroup(f"{n}", [fails(MADE * 10_000) for _ in range(20)]) for n in range(GROUPS)]
        raise ExceptionGroup("many", groups)
    deep(3)

EVENTS = [event("a", 1)]
"""


def error_of(root, made, groups):
    child = run(root, f"GROUPS = {groups}\nMADE = {made!r}\n{GROUP}")
    (end,) = [one for one in child.of(End) if one.outcome == "error"]
    assert "_dnworker" not in child.text
    return end.error


def test_an_error_of_letters_that_json_may_escape_is_one_report(root):
    error = error_of(root, "€", 1)
    assert error.type == "ExceptionGroup"
    assert len(error.members[0].members) == 20


def test_of_an_error_that_is_too_long_for_a_report_the_outermost_is_reported(root):
    error = error_of(root, "😀", 3)
    assert "many" in error.text
    assert error.frames[-1].function == "deep"
    assert (len(error.members), error.more_members, error.is_cut) == (0, 3, True)


# -- frames, contexts and forks --------------------------------------------------------------------------


def test_a_task_that_fails_has_no_frame_of_ours_in_what_the_sdk_says(root):
    script = "@worker.task\nasync def spin(client):\n    raise KeyError('it')\n"
    observed, plain = run(root, script), run(root, script, observed=False)
    assert "KeyError: 'it'" in observed.text
    assert observed.text == plain.text


def test_a_task_that_is_closed_in_another_context_ends_as_it_would(root):
    script = """
import contextvars

@worker.on_startup
async def start(client):
    async def outer():
        await worker._task_handlers[0](client)
    running = outer()
    contextvars.Context().run(running.send, None)
    contextvars.Context().run(running.close)
    print("closed")

@worker.on_event("never")
async def never(event, client): ...

@worker.task
async def spin(client):
    await asyncio.sleep(0)
"""
    child = run(root, script)
    assert "closed" in child.text
    assert child.code == 0
    assert "different Context" not in child.text


def test_a_forked_child_does_not_wait_for_a_lock_that_a_thread_held_and_its_text_is_its_own(root):
    script = """
import threading

@worker.on_event("a")
async def on_a(event, client):
    channel = sys.stdout.write.__closure__
    (channel,) = [c.cell_contents for c in channel if type(c.cell_contents).__name__ == "Channel"]
    held, free = threading.Event(), threading.Event()
    def hold():
        with channel._lock:
            held.set()
            free.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pid = os.fork()
    if not pid:
        print("from the child", flush=True)
        channel.write_late()
        channel.fail(None, {})
        os._exit(0)
    os.waitpid(pid, 0)
    free.set()
    thread.join()
    print("from the parent")

EVENTS = [event("a", 1)]
"""
    child = run(root, script)
    owners, (begun,) = child.owners(), child.of(Begin, Ran)
    assert owners["from the child"].id == owners["from the parent"].id == begun.id
    assert owners["from the child"].by != owners["from the parent"].by


def test_what_a_forked_child_prints_later_is_not_the_handlers_that_runs_then(root):
    script = """
@worker.on_startup
async def start(client):
    reading, writing = os.pipe()
    worker.pipe = writing
    worker.pid = os.fork()
    if not worker.pid:
        os.read(reading, 1)
        print("late child", flush=True)
        os._exit(0)

@worker.on_event("a")
async def on_a(event, client):
    print("a prints")
    os.write(worker.pipe, b"x")
    os.waitpid(worker.pid, 0)
    print("a again")

EVENTS = [event("a", 1)]
"""
    child = run(root, script)
    ids = {one.key.name: one.id for one in child.of(Begin, Ran)}
    owners = child.owners()
    assert owners["late child"].id == ids["start"]
    assert owners["a prints"].id == owners["a again"].id == ids["on_a"]


# -- schedules that missed a run -------------------------------------------------------------------------


def test_only_the_schedules_that_missed_a_run_run_at_the_start(root):
    script = """
@worker.every(seconds=60)
async def tick(client): ...

@worker.every(seconds=60)
async def other(client): ...
"""
    assert names(run(root, script, DNWORKER_RUN_SCHEDULES='[["every","60s","tick"]]')) == ["tick"]
    assert names(run(root, script, DNWORKER_RUN_SCHEDULES="1")) == ["tick", "other"]
