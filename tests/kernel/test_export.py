"""Exports from a live kernel: checked against it, tested with its events, the same as from its file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from dnworker_jupyter.importer.importer import import_capability
from dnworker_jupyter.importer.notebook_file import write_notebook

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

DATA = Path(__file__).parents[1] / "data" / "capabilities"

BRIDGE = """%%worker bridge
import time

@worker.on_startup
async def start(client):
    worker.state["n"] = 0

@worker.on_event("demo.asked")
async def on_asked(event: EventEnvelope, client: RuntimeClient) -> None:
    worker.state["n"] += 1
    print("asked")
    await client.publish(kind_of(event), {"n": worker.state["n"], "at": time.time()})
    if event.payload.get("fail"):
        raise ValueError("as asked")
"""
HELPER = "PREFIX = 'demo'\ndef kind_of(event):\n    return f'{PREFIX}.answered'"


@pytest.fixture
def asked(kernel):
    """A kernel with a worker that was fired at twice."""
    assert kernel.run(HELPER).status == "ok"
    assert kernel.run(BRIDGE, "c1").status == "ok"
    kernel.run("%fire demo.asked fail=false")
    kernel.run("%fire demo.asked fail=true")
    return kernel


@pytest.fixture
def calm(asked):
    """The same kernel, and a file of the event that its handler can take, twice."""
    assert asked.run("%events save calm.jsonl --last 1 --kind demo.asked").status == "ok"
    assert asked.run(
        "text = open('calm.jsonl').read().replace('true', 'false')\nopen('calm.jsonl', 'w').write(text * 2)"
    ).status == "ok"  # fmt: skip
    return asked


def test_a_check_passes_where_the_export_does_what_the_notebook_does_and_changes_neither(calm, tmp_path):
    asked = calm
    answer = asked.run("%capability check --topology in-process --target dnworker --events calm.jsonl")
    assert answer.status == "ok", answer.text
    assert "bridge has 2 handlers, as in the notebook" in answer.text
    assert "2 events fired: notebook and export do the same" in answer.text
    assert "asked" not in answer.streams.get("stdout", ""), (
        "what handlers print in a check is nobody's output"
    )
    assert asked.run("dict(dn.runtime().worker('bridge').worker.state)").result["text/plain"] == "{'n': 2}"
    assert not (tmp_path / "notebook").exists()


def test_what_only_the_kernel_knows_is_refused_with_both_values(asked, tmp_path):
    asked.run("exec('PREFIX = \\'other\\'')")
    answer = asked.run("%capability export out --topology in-process --target dnworker")
    assert answer.status == "error"
    assert "'PREFIX': it is 'other' in the notebook, and would be 'demo' in the script" in answer.text
    assert "nothing was written" in answer.error
    assert not (tmp_path / "out").exists()


def test_a_handler_that_fails_on_both_sides_is_said_first_and_nothing_is_written(asked, tmp_path):
    answer = asked.run("%capability export out --topology in-process --target dnworker --check")
    assert answer.status == "error"
    lines = answer.error.partition("check of out")[2].splitlines()
    assert "1 handler fails in the notebook and in the export alike" in lines[1]
    assert "bridge.on_asked raises ValueError: as asked, in the notebook" in lines[2]
    assert "and ValueError: as asked, in the export" in lines[3]
    assert not (tmp_path / "out").exists()


def test_a_check_under_uv_run_shows_how_far_it_is_and_writes_the_export_with_its_lock(calm, tmp_path):
    asked = calm
    answer = asked.run("%capability export out --target dnworker --check --lock --events calm.jsonl")
    assert answer.status == "ok", answer.text
    assert "check of out: passed" in answer.text
    bars = [d["text/html"] for d in answer.displays if "text/html" in d]
    assert any("<progress" in bar and "waiting for uv to lock bridge.py" in bar for bar in bars)
    locked = (tmp_path / "out" / "workers" / "bridge.py.lock").read_text()
    assert 'name = "msgspec"' in locked
    again = asked.run("%capability export out --target dnworker --lock")
    assert "(nothing changed)" in again.text


def test_an_interrupt_ends_a_check_and_writes_nothing(asked, tmp_path):
    slow = "%%worker slow\nimport asyncio\n@worker.on_startup\nasync def up(client):\n    await asyncio.sleep(AGES)"
    asked.run("AGES = 0.0")
    asked.run(slow, "c2")
    asked.run("AGES = 600.0")
    began = asked.begin("%capability export out --topology in-process --target dnworker --check", "c3")
    asked.until_display("starting bridge, slow once more, for the comparison")
    asked.interrupt()
    answer = asked.collect(began)
    assert answer.status == "error"
    assert "was interrupted; what it ran is ended, and nothing was written" in answer.error
    assert not (tmp_path / "out").exists()
    assert (
        asked.run(
            "import psutil; [p.cmdline() for p in psutil.Process().children(recursive=True) "
            "if 'dnworker_jupyter.export.check.harness' in p.cmdline()]"
        ).result["text/plain"]
        == "[]"
    )


def test_a_text_that_contains_a_worker_line_is_a_text(asked, tmp_path):
    asked.run("HELP = '''write\n%%worker bridge\non top'''")
    asked.run(
        "%%worker bridge\n@worker.on_event('demo.help')\nasync def on_help(event, client):\n    print(HELP)"
    )
    answer = asked.run("%capability export out")
    assert answer.status == "ok", answer.text
    assert "%%worker bridge\non top" in (tmp_path / "out" / "workers" / "bridge.py").read_text()


TESTED = """%%worker bridge --test
{
  "event": "demo.asked",
  "payload": {
    "fail": false
  },
  "publishes": [
    "demo.answered"
  ]
}"""


def test_an_event_becomes_a_cell_that_tests_it_and_the_export_a_file_that_is_green(asked, tmp_path):
    offered = asked.run("%events test #2")
    assert offered.status == "ok", offered.text
    assert offered.next_input == TESTED
    ran = asked.run(TESTED, "t1")
    assert "bridge passes: it takes demo.asked and publishes demo.answered" in ran.text
    asked.run('%%worker bridge --test\n{"event": "demo.asked", "payload": {"fail": true}}', "t2")
    exported = asked.run("%capability export out --target dnworker --topology python")
    assert exported.status == "ok", exported.text
    file = tmp_path / "out" / "tests" / "test_bridge.py"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        capture_output=True, text=True, cwd=tmp_path / "out", check=False,
    )  # fmt: skip
    assert "1 failed, 1 passed" in run.stdout, "what failed in the notebook is red, and what passed is green"
    assert "ValueError: as asked" in run.stdout


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (
            '%%worker bridge --test\n{"event": "demo.asked", "publishes": ["demo.x"]}',
            "should publish ['demo.x']",
        ),
        ('%%worker bridge --test\n{"event": "demo.other"}', "no handler listens to demo.other"),
        ('%%worker brigde --test\n{"event": "demo.asked"}', "did you mean bridge?"),
        ('%%worker bridge --test\n{"evnt": "demo.asked"}', "there is no 'evnt'; did you mean event?"),
        (
            '%%worker bridge --test\n{"event": "a", "payload": []}',
            "payload is a list, and should be an object",
        ),
        ("%%worker bridge --test\n{", "a test is a JSON object, a Python dict or YAML"),
        ("%%worker bridge --test --shared\n{}", "--test stands alone"),
        ("%events test #99", "there is no event '#99'"),
        ("%events test #2 --worker other", "worker 'other' did nothing with #2; bridge did"),
    ],
)
def test_a_test_that_cannot_be_or_does_not_pass_says_why(asked, cell, told):
    answer = asked.run(cell)
    assert answer.status == "error"
    assert told in answer.error


def test_a_check_changes_no_name_of_the_notebook_and_says_what_its_side_began_with(kernel):
    kernel.run("SEEN = []\nCOUNT = 0\ndef note(x):\n    global COUNT\n    COUNT += 1\n    SEEN.append(x)")
    kernel.run(
        "%%worker once\n@worker.on_event('demo.b')\nasync def on_b(event, client):\n"
        "    if event.payload['n'] in SEEN: return\n    note(event.payload['n'])\n"
        "    await client.publish('demo.fresh', {})"
    )
    kernel.run("%fire demo.b n=2")
    answer = kernel.run("%capability check --topology in-process --target dnworker")
    assert answer.status == "ok", answer.error
    assert "COUNT, SEEN hold here what earlier events left" in answer.text
    assert kernel.run("SEEN, COUNT").result["text/plain"] == "([2], 1)"


def test_help_is_asked_for_by_a_word_of_its_own(kernel):
    answer = kernel.run("%%worker q --command 'sh -c \"sleep 60\" -h'\n# nothing")
    assert "q is running as a process" in answer.text
    assert "usage" in kernel.run("%%worker q --help\n").text


def test_an_interrupt_while_an_export_is_planned_writes_nothing(kernel, tmp_path):
    kernel.run(BRIDGE.replace("kind_of(event)", "'demo.x'"), "c1")
    kernel.run(
        "import time\nfrom dnworker_jupyter.export import export\nplan = export.plan_export\n"
        "def slow(*args, **how):\n    print('planning', flush=True)\n    time.sleep(600)\n    return plan(*args, **how)\n"
        "export.plan_export = slow"
    )
    began = kernel.begin("%capability export out", "c2")
    kernel.until_stream("planning")
    kernel.interrupt()
    answer = kernel.collect(began)
    assert answer.status == "error"
    assert not (tmp_path / "out").exists()


def test_a_test_cell_that_never_could_be_read_is_in_no_exports_way(kernel):
    kernel.run(BRIDGE.replace("kind_of(event)", "'demo.x'"), "c1")
    assert kernel.run("%%worker bridge --test\nevnt: x", "t1").status == "error"
    assert kernel.run("%capability export out").status == "ok"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("check --lock", "%capability check does nothing with --lock"),
        ("diff out --events f", "%capability diff does nothing with --events"),
        ("export out --sdk p", "%capability export does nothing with --sdk"),
    ],
)
def test_options_that_do_nothing_are_refused(shared_kernel, line, told):
    assert told in shared_kernel.run(f"%capability {line}").error


CELLS = [
    "import json\n\n# How it is said.\ndef say(x):\n    return json.dumps(x)",
    "%%capability\nname: both\nversion: 1.0.0\ndescription: d\nflags: {beta: {description: b}}",
    "%%worker a --when beta\n@worker.on_event('k')\nasync def on_k(event, client):\n    print(say(1))",
    "%%worker a --shared --when beta\nimport itertools\nNUMBERS = itertools.count()",
    "%%worker b --topology python --env 'X=1 2'\n@worker.every(seconds=5)\nasync def tick(client):\n    print(say(2))",
    "%%worker prog --command 'sh {file} -x' --file bin/prog.sh\n#!/bin/sh\nsleep 60",
    '%%worker a --test\n{"event": "k", "publishes": []}',
    "plain = dn.worker('plain')\n@plain.task\nasync def spin(client):\n    import asyncio\n    await asyncio.sleep(9)",
]


def test_kernel_and_file_give_the_same_bytes(kernel, tmp_path):
    for number, cell in enumerate(CELLS):
        assert kernel.run(cell, f"cell-{number}").status == "ok", cell
    live = kernel.run("%capability export live/both")
    assert live.status == "ok", live.text
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbformat.write(notebook, tmp_path / "nb.ipynb")
    words = ["export", str(tmp_path / "nb.ipynb"), "-o", str(tmp_path / "file" / "both")]
    subprocess.run([sys.executable, "-m", "dnworker", *words], check=True, capture_output=True)
    ours, theirs = tmp_path / "live" / "both", tmp_path / "file" / "both"
    found = sorted(p.relative_to(ours) for p in ours.rglob("*") if p.is_file())
    assert found == sorted(p.relative_to(theirs) for p in theirs.rglob("*") if p.is_file())
    assert Path("tests/test_a.py") in found
    assert Path("workers/both_shared.py") in found
    for path in found:
        assert (ours / path).read_bytes() == (theirs / path).read_bytes(), path
        assert (ours / path).stat().st_mode == (theirs / path).stat().st_mode


@pytest.mark.parametrize("name", ["coordinator", "scheduler"])
def test_an_imported_capability_runs_live_and_passes_the_check_of_its_export(kernel, tmp_path, name):
    write_notebook(import_capability(DATA / name), tmp_path / "nb.ipynb")
    for cell in json.loads((tmp_path / "nb.ipynb").read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not source.startswith(("%load_ext", "%pip")):
            answer = kernel.run(source, cell["id"])
            assert answer.status == "ok", answer.text
    fired = {"coordinator": "%fire change.opened change=c1", "scheduler": "%fire job.planned name=a at=12"}
    assert kernel.run(fired[name]).status == "ok"
    shutil.copytree(DATA / name, tmp_path / name)  # where it goes back to, its agents are
    answer = kernel.run(f"%capability check {name} --target dnworker")
    assert answer.status == "ok", answer.text
    assert "1 event fired: notebook and export do the same" in answer.text


READS_N = '%%worker w\n@worker.on_event("a")\nasync def on_a(event, client):\n    print(N)'


@pytest.mark.parametrize("around", ["", "%%time\n", "%%capture\n"])
def test_an_export_in_the_middle_of_a_cell_has_what_ran_above_it(kernel, tmp_path, around):
    kernel.run("N = 1")
    kernel.run(READS_N)
    kernel.run("%fire a")
    assert kernel.run(f"{around}N = 2\n%capability export out\nN = 3").status == "ok"
    assert "N = 2\n" in (tmp_path / "out" / "workers" / "w.py").read_text()


HEAD = "%%capability\nname: {}\nversion: 0.1.0\ndescription: d\nflags:\n  {}: {{description: d}}"
PICKY = """%%worker w --when relay
@worker.on_startup
async def up(client):
    if FAILS:
        raise RuntimeError("not so")
"""


def test_a_head_that_is_in_effect_is_exported_although_its_cell_failed(kernel, tmp_path):
    kernel.run("FAILS = False")
    assert kernel.run(HEAD.format("first", "relay"), "h").status == "ok"
    assert kernel.run(PICKY).status == "ok"
    assert kernel.run("%capability flag relay on").status == "ok"
    kernel.run("FAILS = True")
    assert "worker 'w' is in state error: not so" in kernel.run(HEAD.format("second", "relay"), "h").text
    assert kernel.run("%capability export out").status == "ok"
    assert "name: second" in (tmp_path / "out" / "capability.yaml").read_text()
    assert "names undeclared flag relay" in kernel.run(HEAD.format("second", "other"), "h").text
    refused = kernel.run("%capability export out")
    assert refused.status == "error"
    assert "names undeclared flag relay" in refused.text, refused.text


def test_a_handler_in_a_plain_cell_after_its_worker_cell_is_exported_checked_and_run_in_a_process(
    kernel, tmp_path
):
    first = '%%worker w\n@worker.on_event("a")\nasync def on_a(event, client): print("a", event.payload)'
    other = '%%worker v\n@worker.on_event("c")\nasync def on_c(event, client): print("c")'
    plain = '@worker.on_event("b")\nasync def on_b(event, client): print("b", event.payload)'
    for number, cell in enumerate([other, first, plain]):
        assert kernel.run(cell, f"c{number}").status == "ok"
    kernel.run("%fire b n=1")
    out = tmp_path / "out"
    assert kernel.run(f"%capability export {out}").status == "ok"
    assert "def on_b" in (out / "workers" / "w.py").read_text()
    checked = kernel.run(f"%capability check {out}")
    assert checked.status == "ok", checked.text
    moved = kernel.run("%worker topology w python")
    assert moved.status == "ok", moved.text
    assert "b {'n': 2}" in kernel.run("%fire b n=2").text


def test_a_worker_cell_that_runs_again_does_not_take_the_handlers_of_plain_cells_away(kernel, tmp_path):
    first = '%%worker w\n@worker.on_event("a")\nasync def on_a(event, client): print("a", event.payload)'
    other = '%%worker v\n@worker.on_event("c")\nasync def on_c(event, client): print("c")'
    plain = '@worker.on_event("b")\nasync def on_b(event, client): print("b", event.payload)'
    for cell, name in [(first, "c0"), (plain, "c1"), (other, "c2"), (first, "c0")]:
        assert kernel.run(cell, name).status == "ok"
    out = tmp_path / "out"
    exported = kernel.run(f"%capability export {out}")
    assert exported.status == "ok", exported.text
    assert "def on_b" in (out / "workers" / "w.py").read_text()
    assert "def on_b" not in (out / "workers" / "v.py").read_text()
