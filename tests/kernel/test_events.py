"""Replay, time, chaos, templates and traces in a real kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.capabilities import ECHO, make_capability

from .session import KernelSession

pytestmark = pytest.mark.kernel

COUNTER = """
%%worker counter
@worker.on_event("order")
async def on_order(event, client):
    worker.state["n"] = worker.state.get("n", 0) + event.payload["amount"]
    print("sum", worker.state["n"])
    await client.publish("summed", {"n": worker.state["n"]})

@worker.on_event("summed")
async def on_summed(event, client):
    print("below")
""".strip()


def test_a_trace_is_a_tree_with_a_waterfall_as_text_and_as_html(kernel):
    kernel.run(COUNTER)
    (shown,) = kernel.run("%fire order amount=2").displays
    lines = shown["text/plain"].splitlines()
    assert lines[1].strip().startswith("+ notebook:counter.on_order  ok")
    assert lines[1].endswith("█")
    assert [line.strip().partition("  ")[0] for line in lines[2:6]] == [
        "| sum 2",
        "state: n = 2",
        "> summed",
        "+ notebook:counter.on_summed",
    ]
    assert "<script" not in shown["text/html"]
    assert "Event and what it caused" in shown["text/html"]
    assert "1 change of state" in shown["text/html"]


def test_a_kind_without_payload_gets_what_was_fired_before_or_what_handlers_read(kernel):
    kernel.run(COUNTER)
    first = kernel.run("%fire order")
    assert 'payload: made of what handlers read: {"amount": "amount"}' in first.text
    kernel.run("%fire order amount=7")
    assert "payload: as of #" in kernel.run("%fire order").text
    assert '"amount": 7' in kernel.run("%fire order --template").text
    assert "%%fire turn.failed" in kernel.run("%fire turn.failed --template").text


def test_replay_fires_again_with_edits_at_one_worker(kernel):
    kernel.run(COUNTER)
    kernel.run(
        "%%worker other\n@worker.on_event('order')\nasync def h(event, client): print('other', event.payload)"
    )
    kernel.run("%fire order amount=1")
    kernel.run("%fire order amount=2")
    text = kernel.run("%replay last 2 --edit amount=10 --worker other").text
    assert "2 events fired again: 2 ok, 0 not ok" in text
    assert text.count("| other {'amount': 10}") == 2
    assert "counter.on_order" not in text
    assert "| sum 4" in kernel.run("%replay last --edit amount=1 --worker counter").text


def test_events_survive_a_restart_of_the_kernel(kernel):
    kernel.run(COUNTER)
    kernel.run("%fire order amount=41 --session s1")
    kernel.run("import asyncio\nawait asyncio.to_thread(dn.runtime().journal.flush)")
    kernel.close()
    again = KernelSession()
    try:
        again.run("%load_ext dnworker")
        again.run(COUNTER)
        text = again.run("%replay last").text
        assert "(again, as #" in text
        assert "| sum 41" in text
        assert "'amount': 41" in again.run("%events --all").text
        assert "payload: as of #" in again.run("%fire order").text
    finally:
        again.close()


def test_saved_events_are_a_file_that_can_be_replayed(kernel):
    kernel.run(COUNTER)
    kernel.run("%fire order amount=5")
    assert "1 events are in e.jsonl" in kernel.run("%events save e.jsonl").text
    assert json.loads(Path("e.jsonl").read_text())["payload"] == {"amount": 5}
    assert "| sum 10" in kernel.run("%replay e.jsonl").text


def test_all_that_happened_can_be_saved(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, client): await client.publish('b', {})")
    kernel.run("%fire a")
    kernel.run("%events save outside.jsonl")
    kernel.run("%events save all.jsonl --all")
    outside, everything = (
        [json.loads(line)["kind"] for line in Path(name).read_text().splitlines()]
        for name in ("outside.jsonl", "all.jsonl")
    )
    assert outside == ["a"]
    assert everything[-2:] == ["a", "b"]


def test_an_advance_in_which_a_handler_makes_the_clock_real_says_so(kernel):
    kernel.run("%%worker w\n@worker.every(seconds=60)\nasync def tick(client): dn.runtime().clock.be_real()")
    kernel.run("%clock virtual")
    assert "stopped: a handler made the clock real" in kernel.run("%clock advance 1h").text


def test_compare_shows_where_two_generations_differ_and_changes_nothing(kernel):
    kernel.run(COUNTER, "c1")
    kernel.run("%fire order amount=2")
    kernel.run(COUNTER.replace('"sum"', '"total"'), "c1")
    before = kernel.run(
        "print(dn.runtime().bus.latest_seq, dn.runtime().worker('counter').worker.state)"
    ).text
    told = kernel.run("%replay last 5 --compare").text
    assert "- on_order prints sum 2" in told
    assert "+ on_order prints total 2" in told
    assert "on_order publishes summed" in told
    assert (
        kernel.run("print(dn.runtime().bus.latest_seq, dn.runtime().worker('counter').worker.state)").text
        == before
    )
    assert "no difference" not in told.partition("\n")[0]


SCHEDULED = """
%%worker scheduled
import dnworker
@worker.every(minutes=10)
async def often(client): print("ten minutes")
@worker.every(cron="0 * * * *")
async def hourly(client): print("an hour")
@worker.task
async def failing(client):
    worker.state["runs"] = worker.state.get("runs", 0) + 1
    if worker.state["runs"] > 5:
        await dnworker.sleep(1e9)
    raise RuntimeError("again")
@worker.on_event("nap")
async def nap(event, client):
    await dnworker.sleep(1800)
    print("woke")
""".strip()


def test_time_moves_schedules_backoff_and_sleeps_while_the_kernel_goes_on(kernel):
    kernel.run(SCHEDULED)
    assert "the clock is virtual" in kernel.run("%clock virtual").text
    kernel.run("%fire nap --no-wait")
    moved = kernel.run("%clock advance 1h").text
    assert moved.count("ten minutes") == 6
    assert moved.count("an hour") == 1
    assert moved.count("scheduled.failing") >= 5
    assert "woke" in kernel.run("%worker logs scheduled").text
    assert kernel.run("import asyncio\nawait asyncio.sleep(0.01)\n1 + 1").result["text/plain"] == "2"


def test_advancing_is_bounded_and_says_how_to_go_on(kernel):
    kernel.run("%%worker w\n@worker.every(seconds=1)\nasync def tick(client): pass\n")
    kernel.run("%clock virtual")
    told = kernel.run("%clock advance 1h --limit 5").text
    assert told.count("w.tick") == 5
    assert re.search(
        r"stopped after 5 wakes, 359\d(\.\d+)? s before the end; go on with: %clock advance 359", told
    )


def test_next_moves_to_the_next_that_is_due_and_real_time_comes_back(kernel):
    kernel.run("%%worker w\n@worker.every(cron='0 * * * *')\nasync def tick(client): print('ticked')")
    assert "the clock is real, and goes by itself" in kernel.run("%clock next").error
    kernel.run("%clock virtual")
    assert "ticked" in kernel.run("%clock next").text
    back = kernel.run("import datetime\n%clock real").text
    assert "the clock is real" in back
    now = kernel.run(
        "print(abs((dn.runtime().clock.now() - datetime.datetime.now(datetime.UTC)).total_seconds()) < 5)"
    )
    assert now.text.strip() == "True"
    assert ":00:00 (in " in back


def test_chaos_happens_again_from_its_seed(kernel):
    kernel.run(COUNTER)
    line = (
        "%fire order amount=1 --times 5 --chaos seed=7,duplicate=0.5,delay=0.01,reorder,fail=client.publish:2"
    )
    first, second = kernel.run(line).text, kernel.run(line).text
    assert first.partition("\n")[0] == second.partition("\n")[0]
    assert "chaos: seed=7" in first
    assert "chaos: failed call 2 of client.publish, in notebook:counter.on_order" in first
    assert "ConnectError: chaos: call 2 of client.publish fails (seed=7)" in second
    assert "ok" in kernel.run("%fire order amount=1").text


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%replay #999999", "there is no event '#999999'"),
        ("%replay last x", "how many? as in: %replay last 5"),
        ("%replay nowhere.jsonl", "nowhere.jsonl cannot be read"),
        ("%replay last --worker nobody", "no worker 'nobody'"),
        ("%replay last --edit x", "is not of the form field=value"),
        ("%replay last --speed 0", "time goes forward"),
        ("%replay last --compare", "--compare needs one worker with an earlier generation"),
        ("%replay last --comapre", "did you mean --compare?"),
        ("%replay last --speed nan", "time goes forward"),
        ("%replay last --timeout nan", "--timeout nan: seconds to wait are wanted"),
        ("%fire order --timeout -1", "--timeout -1: seconds to wait are wanted"),
        ("%fire order --rate inf", "--rate inf: more than none a second is wanted, as in --rate 10"),
        ("%fire order --session ''", "--session needs the id of a session"),
        ("await dn.fire('order', session_id=5)", "session_id is 5; the id of a session is text"),
        (
            "await dn.fire('x' * 2, {'b': 'x' * 1_000_001})",
            "payload is 1,000,009 bytes of JSON; at most 1,000,000",
        ),
        ("%events sav x", "%events takes: save FILE"),
        ("%events save no/where.jsonl", "cannot be written"),
        ("%clock forward", "%clock takes: virtual, real, advance 1h, next [N]"),
        ("%clock advance soon", "'soon' is not a length of time"),
        ("%fire order --chaos dupplicate=1", "unknown 'dupplicate'; did you mean duplicate?"),
        ("%fire order --worker nobody", "no worker 'nobody'"),
        ("%worker topology w", "%worker topology takes a name and one of in-process, python, uv"),
        ("%worker restrat w", "did you mean restart?"),
        ("%runtime docter", "invalid choice: 'docter'"),
        ("%%worker w --file x\n1", "the file of a Python worker ends in .py"),
        ("%%worker w --topology uvx\n1", "did you mean uv?"),
        ("%%worker w --command sh --topology uv\n1", "says already how this one runs"),
        ("%%worker w --command 'sh' --file ../x\n1", "must be a path inside of the capability"),
        ("%%worker w --command nothing-of-the-sort\n1", "is in state error: spawn failed"),
        ("%%agent\n1", "%%agent needs the agent's name"),
        ("%%agent a\nx = 1", "the cell defines no async function of the turn"),
        ("%%agent a\nasync def reply(): pass", "must take one argument, the turn"),
        ("%%agent a --model m --key-env NO_SUCH_KEY\nprompt", "the environment has no NO_SUCH_KEY"),
        ("dn.worker('Bad Name')", "'Bad Name' is not allowed"),
        ("dn.worker('w', when=['nope'])", "no such flag is declared"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_with_the_way_out(shared_kernel, code, said):
    shared_kernel.run("%fire order amount=1")
    answer = shared_kernel.run(code)
    assert answer.status == "error"
    assert said in answer.error + answer.text
    assert "dnworker_jupyter/" not in answer.text


def test_a_fire_right_after_a_load_or_a_reload_waits_for_processes_that_start(kernel, tmp_path):
    make_capability(
        tmp_path / "cap", "echo: {command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']}", {"echo.py": ECHO}
    )
    loaded = kernel.run("%capability load cap\n%fire demo.ping n=1")
    assert "waiting for echo to start" in loaded.text
    assert "demo:echo.ping  ok" in loaded.text
    reloaded = kernel.run(
        "import asyncio\nr = asyncio.ensure_future(dn.runtime().reload())\nawait asyncio.sleep(0)\n"
        "t = await dn.fire('demo.ping', {'n': 2})\nprint(t)"
    )
    assert "waiting for the reload to end" in reloaded.text
    assert "demo:echo.ping  ok" in reloaded.text


@pytest.mark.parametrize("fire", ["%fire a", "await dn.fire('a')"])
def test_a_startup_that_fires_at_its_own_worker_and_waits_is_refused_at_once(kernel, fire):
    answer = kernel.run(
        f"%%worker w\n@worker.on_startup\nasync def up(client):\n    {fire}\n@worker.on_event('a')\nasync def h(e, c): pass"
    )
    assert answer.status == "error"
    assert (
        "it would wait for itself. Fire without waiting (wait=False, --no-wait), or in a @worker.task"
        in answer.error
    )


def test_a_fire_that_is_not_waited_for_is_under_way(kernel):
    kernel.run(
        "%%worker w\nimport asyncio\ngo = asyncio.Event()\n@worker.on_event('a')\nasync def h(e, c): await go.wait()"
    )
    answer = kernel.run("t = %fire a --no-wait\nprint(repr(t), t.ok)\nt")
    assert "is under way; %events and the panel show what comes of it" in answer.text
    assert ": under way> False" in answer.text
    assert "(under way: this is how far it is)" in answer.text
    assert "fired 3 times: 3 under way" in kernel.run("%fire a --times 3 --no-wait").text
    assert ": ok> True" in kernel.run("go.set()\nawait dn.settle(60)\nprint(repr(t), t.ok)").text


def test_a_template_with_a_session_names_it(kernel):
    kernel.run("t = %fire session.created --session X")
    assert kernel.run("t.event.session_id, t.event.payload").text == "('X', {'session_id': 'X'})"
    assert '"session_id": "Y"' in kernel.run("%fire session.deleted --session Y --template").text
