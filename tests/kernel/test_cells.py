"""The form without magics, stale handlers, agents, topologies, completion and the doctor in a real kernel."""

from __future__ import annotations

import json
import os
import re

import pytest

pytestmark = pytest.mark.kernel

BEE = """
bee = dn.worker("bee")

@bee.on_event("buzz")
async def on_buzz(event, client):
    bee.state["n"] += 1
    print("buzzed", bee.state["n"])

bee.state["n"] = 5
"the last value"
""".strip()


def test_dn_worker_registers_for_its_cell_and_the_last_value_is_shown(kernel):
    answer = kernel.run(BEE, "c1")
    assert answer.status == "ok", answer.text
    assert answer.result["text/plain"] == "'the last value'"
    assert "bee is running, generation 1\n  + on_event buzz: on_buzz" in answer.text
    assert "| buzzed 6" in kernel.run("%fire buzz").text


def test_running_a_plain_cell_again_replaces_what_it_registered(kernel):
    kernel.run(BEE, "c1")
    kernel.run(BEE.replace('"buzzed"', '"hummed"'), "c1")
    text = kernel.run("%fire buzz").text
    assert "| hummed" in text
    assert text.count("bee.on_buzz  ok") == 1


def test_a_plain_cell_that_fails_changes_nothing(kernel):
    kernel.run(BEE, "c1")
    answer = kernel.run(BEE.replace('"buzzed"', '"broken"') + "\n1 / 0", "c1")
    assert answer.status == "error"
    assert "_close_cell" not in answer.text
    assert "| buzzed 6" in kernel.run("%fire buzz").text


def test_another_cell_may_add_to_a_handle(kernel):
    kernel.run(BEE, "c1")
    kernel.run(
        "@bee.on_event('sting')\nasync def on_sting(event, client): print('stung', bee.state['n'])", "c2"
    )
    assert "| stung 5" in kernel.run("%fire sting").text
    assert "| buzzed 6" in kernel.run("%fire buzz").text


def test_a_workers_file_pasted_into_a_cell_runs_live(kernel):
    answer = kernel.run(
        "from dreadnode.capabilities.worker import Worker, EventEnvelope, RuntimeClient\n"
        "worker = Worker(name='notifier')\nworker.state['greeting'] = 'hello'\n"
        "@worker.on_event('ping')\nasync def on_ping(event: EventEnvelope, client: RuntimeClient) -> None:\n"
        "    print(worker.state['greeting'])\n"
        "if __name__ == '__main__':\n    worker.run()"
    )
    assert answer.status == "ok", answer.text
    assert "notifier is running, generation 1" in answer.text
    assert "| hello" in kernel.run("%fire ping").text
    kernel.run("%worker restart notifier")
    assert "| hello" in kernel.run("%fire ping").text


def test_a_cell_run_again_without_its_handlers_takes_them_away(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(event, client): pass", "c1")
    kernel.run("%%worker w\n@worker.on_event('b')\nasync def g(event, client): pass", "c2")
    kernel.run("x = 1", "c1")
    assert "no handler in this notebook listens to a" in kernel.run("%fire a").text
    kernel.run("%%worker renamed\n@worker.on_event('b')\nasync def g(event, client): pass", "c2")
    text = kernel.run("%worker").text
    assert "notebook:renamed" in text
    assert "notebook:w " not in text


def test_a_handler_whose_cell_failed_since_is_stale(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(event, client): pass", "c1")
    kernel.run("1 / 0", "c1")
    assert "cell [2] (stale: its cell failed when it ran again as cell [3])" in kernel.run("%worker w").text


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([], "its cell was deleted"),
        ([("c1", "%%worker w\nsomething else")], "its cell was edited since and has not run"),
    ],
)
def test_handlers_of_cells_that_the_saved_notebook_has_otherwise_are_stale(kernel, tmp_path, cells, why):
    notebook = tmp_path / "mine.ipynb"
    kernel.run(f"__vsc_ipynb_file__ = {str(notebook)!r}")
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(event, client): pass", "c1")
    kernel.run("%%worker w\n@worker.on_event('b')\nasync def g(event, client): pass", "c2")
    others = [("c2", "%%worker w\n@worker.on_event('b')\nasync def g(event, client): pass")]
    saved = [{"cell_type": "code", "id": i, "source": s} for i, s in [*cells, *others]]
    notebook.write_text(json.dumps({"cells": saved}))
    os.utime(notebook, (2e9, 2e9))
    text = kernel.run("%worker w").text
    assert text.count("(stale: ") == 1
    assert f"cell [3] (stale: {why})" in text
    assert why in kernel.run("%runtime doctor").text


def test_an_agent_is_recorded_and_answers_from_the_file(kernel, tmp_path):
    file = tmp_path / "triage.json"
    ask = "(await dn.runtime().client().run_turn(session_id='s', agent='triage', message='hi'))['response_text']"
    body = "\nasync def reply(turn):\n    return 'first'"
    answer = kernel.run(f"%%agent triage --record {file}{body}")
    assert f"agent triage answers by reply; it is recorded in {file}" in answer.text
    assert "first" in kernel.run(ask).text
    answer = kernel.run(f"%%agent triage --replay {file}{body.replace('first', 'second')}")
    assert f"; it answers from {file}" in answer.text
    assert "first" in kernel.run(ask).text
    for line, problem in (
        (f"triage --replay {tmp_path}/none.json", "(DN994)"),
        (f"triage --record {file} --replay {file}", "leave one out"),
        (f"default --record {file}", "--record is for one agent"),
    ):
        refused = kernel.run(f"%%agent {line}{body.replace('first', 'third')}")
        assert problem in refused.text
        assert "first" in kernel.run(ask).text  # as before


def test_an_agent_answers_by_the_cells_function(kernel):
    kernel.run(
        "%%worker asker\n@worker.on_event('ask')\nasync def ask(event, client):\n"
        "    done = await client.run_turn(session_id='s1', message='hi', agent='triage')\n    print(done['response_text'])"
    )
    answer = kernel.run(
        "%%agent triage\nWORD = 'heard'\nasync def reply(turn):\n    yield f'{WORD} {turn.message}'"
    )
    assert "agent triage answers by reply" in answer.text
    text = kernel.run("%fire ask").text
    assert "| heard hi" in text
    assert "turn.completed" in text


def test_a_default_agent_in_plain_python_answers_for_every_agent(kernel):
    kernel.run("@dn.agent('default')\nasync def reply(turn): return f'for {turn.agent}'")
    told = kernel.run(
        "r = await dn.runtime().client().run_turn(session_id='s', message='hi', agent='triage')\nr['response_text']"
    )
    assert told.text.strip() == "'for triage'"


def test_an_agent_may_be_a_model_with_the_body_as_its_prompt(kernel):
    kernel.run(
        "from dnworker.testing import ModelServer, Says\nserver = ModelServer([Says('from the model')])\n"
        "await server.__aenter__()\nimport os\nos.environ['MY_KEY'] = 'secret-key'"
    )
    kernel.run("url = server.base_url")
    told = kernel.run("%%agent x --model m --base-url {url} --key-env MY_KEY\nBe brief.")
    assert "secret-key" not in told.text
    done = kernel.run(
        "r = await dn.runtime().client().run_turn(session_id='s2', message='hello', agent='x')\nr['response_text']"
    )
    assert done.result["text/plain"] == "'from the model'", done.text
    asked = kernel.run("print(server.requests[0]['messages'][0])").text
    assert "Be brief." in asked


def test_a_program_in_any_language_is_a_worker(kernel):
    cell = "%%worker shelly --command sh --file run.sh\necho {}\nsleep 100"
    answer = kernel.run(cell.format("hello from sh"))
    assert "shelly is running as a process (sh), generation 1" in answer.text
    assert "generation 2" in kernel.run(cell.format("again")).text
    kernel.run("events = dn.runtime().logs")
    seen = kernel.run(
        "import asyncio\nasync with asyncio.timeout(60):\n"
        "    while 'again' not in [n.text for n in events.tail(10)]: await asyncio.sleep(0.02)\nprint('seen')"
    )
    assert seen.streams["stdout"] == "seen\n"


TWOFOLD = """
%%worker twofold
import asyncio
import logging
LIMIT = 3

@worker.on_startup
async def start(client):
    worker.state["n"] = 0

@worker.on_event("ask")
async def on_ask(event, client):
    worker.state["n"] += 1
    print("asked", worker.state["n"], LIMIT)
    logging.getLogger("x").warning("careful")
    await client.publish("answer", {"n": worker.state["n"]})

@worker.on_event("answer")
async def on_answer(event, client):
    raise KeyError("nobody")
""".strip()


ONE_SIDED = ("state: ", "%debug #", "event = ", "client = ")
"""Rows of a trace about what is in this process, and about variables of another."""


def shape(reply):
    """A trace without numbers that differ from run to run, and what only one of the two sides has."""
    rows = reply.displays[-1]["text/plain"].splitlines()
    text = "\n".join(row for row in rows if not row.strip().startswith(ONE_SIDED))
    text = re.sub(r"#\d+|[\d.]+ ms|[█ ]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"(cell \[\d+\]|\S+/twofold.py), line \d+", "PLACE", text)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("topology", ["python", "uv"])
def test_the_same_cells_as_a_process_look_the_same_and_come_back(kernel, topology):
    kernel.run(TWOFOLD, "c1")
    inside = shape(kernel.run("%fire ask n=1"))
    moved = kernel.run(f"%worker topology twofold {topology}")
    assert f"twofold is running, as a process ({topology}), with empty state" in moved.text
    outside = shape(kernel.run("%fire ask n=1"))
    assert outside.replace("WARNING x: careful", "careful") == inside
    table = kernel.run("%worker twofold").text
    assert re.search(r"on_event answer +on_answer +cell \[2\] +1 +1", table)
    assert "KeyError: 'nobody'" in kernel.run("%worker logs twofold").text
    kernel.run(TWOFOLD.replace('"asked"', '"changed"'), "c1")
    assert (
        "changed 1 3"
        in kernel.run(
            "import asyncio\nawait dn.runtime().worker('twofold').connected.wait()\n%fire ask n=1"
        ).text
    )
    assert "in-process, with empty state" in kernel.run("%worker topology twofold in-process").text
    assert "| changed 1 3" in kernel.run("%fire ask n=1").text


def test_what_cannot_leave_the_kernel_keeps_the_worker_where_it_is(kernel):
    kernel.run("data = open('/dev/null')")
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(event, client): print(data.name)")
    refused = kernel.run("%worker topology w uv")
    assert refused.status == "error"
    assert "'data': cell [2], line 1 reads from the disk" in refused.text
    assert "| /dev/null" in kernel.run("%fire a").text


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("%fire turn.comp", "turn.completed"),
        ("%fire greet ", "user_name="),
        ("t = %fire greet us", "user_name="),
        ("%%fire gre", "greet"),
        ("%worker sto", "stop"),
        ("%worker stop gr", "greeter"),
        ("%worker topology greeter u", "uv"),
        ("%%worker gree", "greeter"),
        ("%%worker x --wh", "--when"),
        ("%fire greet --cha", "--chaos"),
        ("%fire greet --worker gre", "greeter"),
        ("%replay la", "last"),
        ("%clock adv", "advance"),
        ("%events sa", "save"),
        ("%runtime doc", "doctor"),
        ("%capability exp", "export"),
    ],
)
def test_tab_completes(shared_kernel, line, offered):
    shared_kernel.run(
        "%%worker greeter\n@worker.on_event('greet')\nasync def greet(event, client): print(event.payload['user_name'])"
    )
    assert offered in shared_kernel.complete(line)


@pytest.mark.parametrize(
    "magic", ["%%worker", "%fire", "%replay", "%clock", "%%agent", "%runtime", "%events"]
)
def test_a_question_mark_shows_help(shared_kernel, magic):
    (page,) = shared_kernel.run(f"{magic}?").pages
    assert magic in page


def test_braces_and_dollars_in_payloads_are_left_alone(shared_kernel):
    shared_kernel.run("x = 99")
    answer = shared_kernel.run('%fire plain text="{x} $x" value={x}')
    events = shared_kernel.run("dn.runtime().history.events(1)[0].payload")
    assert answer.status == "ok"
    assert events.result["text/plain"] == "{'text': '{x} $x', 'value': 99}"


def test_the_doctor_names_what_is_wrong_and_the_remedy(kernel):
    text = kernel.run("%runtime doctor").text
    for subject in (
        "kernel",
        "front end",
        "comms",
        "loop",
        "nest_asyncio",
        "server",
        "journal",
        "uv",
        "stale handlers",
    ):
        assert subject in text
    assert "not applied" in text
    assert "WRONG" not in text
    token = kernel.run("print(dn.runtime().tokens.main)").text.strip()
    assert token not in text
    kernel.run("import time\ntime.sleep(1.6)")
    kernel.run("%runtime nest")
    text = kernel.run("%runtime doctor").text
    assert re.search(r"nest_asyncio2 is applied.*: a task costs [\d.]+ times what it does without", text)
    assert re.search(r"the loop was held \d+ times", text)
    assert kernel.run("import asyncio\nasync def f(): return 7\nprint(asyncio.run(f()))").text.strip() == "7"


def test_a_stopped_runtime_starts_again_with_the_next_magic(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(event, client): print('heard')", "c1")
    assert "the runtime is stopped" in kernel.run("%runtime stop").text
    assert "| heard" in kernel.run("%fire a").text


def test_running_everything_twice_and_reloading_doubles_no_hook(kernel):
    cells = [
        "%load_ext dnworker",
        "%%worker w\nimport logging\n@worker.on_event('a')\nasync def h(event, client):\n"
        "    logging.getLogger('x').warning('logged')\n    print('printed')\n"
        "@worker.every(seconds=0.05)\nasync def tick(client): worker.state['t'] = worker.state.get('t', 0) + 1\n"
        "@worker.task\nasync def one(client):\n    import asyncio\n    await asyncio.sleep(1000)",
    ]
    for _ in range(3):
        for number, cell in enumerate(cells):
            assert kernel.run(cell, f"c{number}").status == "ok"
        kernel.run("%reload_ext dnworker")
    text = kernel.run("%fire a").text
    assert (text.count("| logged"), text.count("| printed"), text.count("w.h  ok")) == (1, 1, 1)
    counted = kernel.run(
        "import asyncio, threading\nnames = sorted(t.get_name() for t in asyncio.all_tasks() if 'notebook:w' in t.get_name())\n"
        "print(names)\nprint(sum(t.name == 'dnworker watchdog' for t in threading.enumerate()))"
    ).text
    assert counted.count("schedule tick") == 1
    assert counted.count("task one") == 1
    assert counted.splitlines()[1] == "1"


def test_a_disk_that_refuses_the_journal_stops_nothing(bare_kernel, tmp_path):
    (tmp_path / ".dreadnode").write_text("a file where a directory should be")
    assert bare_kernel.run("%load_ext dnworker").status == "ok"
    bare_kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(event, client): print('heard')")
    assert "| heard" in bare_kernel.run("%fire a").text
    told = bare_kernel.run("%runtime doctor").text
    assert "WRONG" in told
    assert ".dreadnode" in told
    assert "(again, as #" in bare_kernel.run("%replay last").text


def test_using_a_handle_in_another_cell_registers_nothing(kernel):
    kernel.run(BEE, "c1")
    answer = kernel.run("dn.worker('bee').state['n']", "c2")
    assert answer.result["text/plain"] == "5"
    assert answer.streams == {}
    assert "generation" not in kernel.run("bee.state['n'] = 7", "c3").text
    assert "| buzzed 8" in kernel.run("%fire buzz").text


def test_errors_that_nobody_awaits_are_kept_after_a_reload_too(kernel):
    kernel.run(
        "%%worker w\nimport asyncio\n@worker.on_event('a')\nasync def h(event, client): asyncio.create_task(boom())\n"
        "async def boom(): raise ValueError('lost?')"
    )
    kernel.run("%reload_ext dnworker")
    kernel.run("%fire a")
    assert "ValueError: lost?" in kernel.run("await dn.settle()").error
