"""The check of an export: it runs for real, in a clean environment, and its failures are told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from dnworker.cli.main import main
from dnworker.events.event_files import write_events
from dnworker.testing import make_envelope
from dnworker_jupyter.export.check.check import check
from dnworker_jupyter.export.check.record import CheckRun, HandlerRun, WorkerStart
from dnworker_jupyter.export.check.report import CheckReport
from dnworker_jupyter.export.disk.diff import handlers_in_script
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import Plan, plan_export
from dnworker_jupyter.syntax.cell import Cell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WORKER = """
import os
from pathlib import Path

@worker.on_event("demo.asked")
async def on_asked(event, client):
    await client.publish("demo.answered", {"n": event.payload["n"] + 1})
"""


def plan(*cells: str, topology="python", **options) -> Plan:
    sources = [Cell(number, dedent(text).strip("\n")) for number, text in enumerate(cells, 1)]
    return plan_export(sources, default_name="demo", topology=topology, **options)


async def look(made: Plan, directory: Path = Path("nowhere"), **options) -> CheckReport:
    handlers = {name: handlers_in_script(made.files[path].decode()) for name, path in made.scripts.items()}
    return await check(made, directory, **{"handlers": handlers, **options})


def notebook(*effects, root="event", starts=None):
    """Return a notebook's side on which `bridge.on_asked` does this with every event."""

    async def run_in_notebook(request, on_progress):
        count = len(request.scene.events) if root == "event" else 1
        runs = [HandlerRun("bridge.on_asked", root, n, [*effects]) for n in range(count)]
        return CheckRun(runs, fired=count, starts=starts or {})

    return run_in_notebook


def failed(report: CheckReport) -> str:
    assert not report.ok
    return "\n".join(line for f in report.findings if not f.ok for line in f.lines())


@pytest.mark.parametrize("topology", ["python", "in-process"])
async def test_an_export_that_runs_passes(topology):
    report = await look(
        plan(f"%%worker bridge\n{WORKER}", topology=topology), events=[make_envelope("demo.asked", {"n": 1})]
    )
    assert report.ok, str(report)
    assert "bridge has 1 handler, as the cells say" in str(report)
    assert "1 event fired at the export" in str(report)


async def test_a_worker_that_does_not_start_is_told_with_its_reason():
    cell = f"%%worker bridge\n{WORKER}\n@worker.on_startup\nasync def start(client):\n    raise KeyError('no key')"
    report = await look(plan(cell))
    assert "bridge is error" in failed(report)
    assert "KeyError: 'no key'" in failed(report)


async def test_the_users_own_variables_and_home_are_not_there(monkeypatch):
    monkeypatch.setenv("MY_OWN_TOKEN", "secret")
    monkeypatch.setenv("NAMED", "given")
    body = """
    await client.publish("demo.seen", {"token": "MY_OWN_TOKEN" in os.environ, "named": os.environ["NAMED"],
                                       "home": [p.name for p in Path.home().iterdir() if p.name != ".dreadnode"]})
"""
    cell = f"%%worker bridge --env 'NAMED=${{NAMED}}'\n{WORKER}{body}"
    here = notebook(
        ("publishes demo.answered", {"n": 2}),
        ("publishes demo.seen", {"token": False, "named": "given", "home": []}),
    )
    report = await look(plan(cell), events=[make_envelope("demo.asked", {"n": 1})], run_in_notebook=here)
    assert report.ok, str(report)
    assert "secret" not in str(report)


async def test_an_error_at_the_export_alone_is_a_failure():
    report = await look(plan(f"%%worker bridge\n{WORKER}"), events=[make_envelope("demo.asked", {}, seq=7)])
    assert "#7 demo.asked: bridge.on_asked raises KeyError: 'n'" in failed(report)


async def test_events_that_do_something_else_are_told_side_by_side():
    made = plan(f"%%worker bridge\n{WORKER}")
    here = notebook(("publishes demo.answered", {"n": 3}))
    report = await look(made, events=[make_envelope("demo.asked", {"n": 1}, seq=7)], run_in_notebook=here)
    assert failed(report).splitlines()[1:4] == [
        "      #7 demo.asked",
        '        - bridge.on_asked publishes demo.answered {"n": 3}',
        '        + bridge.on_asked publishes demo.answered {"n": 2}',
    ]


TASK = "@worker.task\nasync def spin(client):\n    {}"


async def test_a_task_that_lacks_something_is_a_failure_and_one_without_its_service_is_told():
    report = await look(plan(f"%%worker bridge\n{WORKER}\n" + TASK.format("os.environ['NOT_SET_AT_ALL']")))
    assert "bridge.spin raises KeyError: 'NOT_SET_AT_ALL', as task" in failed(report)
    report = await look(plan(f"%%worker bridge\n{WORKER}\n" + TASK.format("raise ConnectionError('nobody')")))
    assert report.ok
    assert "bridge.spin raises ConnectionError: nobody, as task" in str(report)


async def test_a_task_that_fails_only_in_the_export_is_a_failure():
    made = plan(f"%%worker bridge\n{WORKER}\n" + TASK.format("raise ConnectionError('nobody')"))
    report = await look(made, run_in_notebook=notebook())
    assert "+ bridge.spin raises ConnectionError: nobody" in failed(report)


async def test_a_worker_that_does_not_come_up_in_the_notebook_is_told():
    starts = {"bridge": WorkerStart("error", "OSError: address already in use")}
    here = notebook(("publishes demo.answered", {"n": 2}), starts=starts)
    report = await look(
        plan(f"%%worker bridge\n{WORKER}"),
        events=[make_envelope("demo.asked", {"n": 1})],
        run_in_notebook=here,
    )
    assert "in the notebook, started once more, it does not: OSError: address already in use" in failed(
        report
    )


SETS = """
%%worker bridge

@worker.on_event("demo.asked")
async def on_asked(event, client):
    await client.publish("demo.answered", {"v": list({"one", "two", "three", "four", "five"})})
"""


@pytest.mark.parametrize("topology", ["python", "in-process"])
async def test_the_order_of_a_set_is_another_in_each_process_and_no_difference(topology):
    here = notebook(("publishes demo.answered", {"v": ["one", "two", "three", "four", "five"]}))
    report = await look(
        plan(SETS, topology=topology), events=[make_envelope("demo.asked")], run_in_notebook=here
    )
    assert report.ok, str(report)
    assert "these differ between two runs of the export, too" in str(report) or "v[" not in str(report)


@pytest.mark.parametrize("topology", ["python", "in-process"])
@pytest.mark.parametrize("value", ["os.getpid()", "hash('text')"])
async def test_what_depends_on_the_process_is_no_difference_and_is_named(topology, value):
    cell = SETS.replace('list({"one", "two", "three", "four", "five"})', value).replace(
        "bridge\n", "bridge\nimport os\n", 1
    )
    here = notebook(("publishes demo.answered", {"v": 1}))
    report = await look(
        plan(cell, topology=topology), events=[make_envelope("demo.asked")], run_in_notebook=here
    )
    assert report.ok, str(report)
    assert "these differ between two runs of the export, too, each a process: bridge.on_asked" in str(report)


LEAVES = """
%%worker bridge
import asyncio

async def later():
    return MISSING.get("x")

MISSING = None

@worker.on_event("demo.asked")
async def on_asked(event, client):
    task = asyncio.create_task(later())
    await asyncio.sleep(0.01)
    del task
    await client.publish("demo.answered", {"n": 1})
"""


@pytest.mark.parametrize("topology", ["python", "in-process"])
async def test_a_task_that_handlers_leave_and_that_fails_in_the_export_alone_is_a_difference(topology):
    here = notebook(("publishes demo.answered", {"n": 1}))
    report = await look(
        plan(LEAVES, topology=topology), events=[make_envelope("demo.asked")], run_in_notebook=here
    )
    assert "+ a task that a handler started, and nobody awaited, raises AttributeError: 'NoneType'" in failed(
        report
    )


async def test_a_list_in_another_order_is_a_difference_where_no_process_changes_it():
    here = notebook(("publishes demo.answered", {"v": ["one", "two", "three"]}))
    cell = SETS.replace('list({"one", "two", "three", "four", "five"})', '["two", "one", "three"]')
    report = await look(plan(cell), events=[make_envelope("demo.asked")], run_in_notebook=here)
    assert "the same items have another order: sort them before you publish them" in failed(report)


SCHEDULED = """
%%worker bridge

@worker.every(cron="0 0 1 1 *")
async def report(client):
    await client.publish("demo.report", {"n": 1})

@worker.on_startup
async def start(client):
    print("starting")
    await client.publish("demo.up", {"n": 1})

@worker.on_shutdown
async def stop(client):
    await client.publish("demo.down", {"n": 1})

@worker.task
async def tick(client):
    await client.publish("demo.tick", {"n": 1})
    await asyncio.Event().wait()

import asyncio
"""


@pytest.mark.parametrize("topology", ["python", "in-process"])
async def test_what_no_event_begins_is_seen_in_the_export_whatever_its_topology(topology):
    seen = {
        ("schedule", "report", "demo.report"),
        ("startup", "start", "demo.up"),
        ("shutdown", "stop", "demo.down"),
        ("task", "tick", "demo.tick"),
    }

    async def run_in_notebook(request, on_progress):
        runs = [
            HandlerRun(f"bridge.{who}", root, -1, [(f"publishes {kind}", {"n": 1})])
            for root, who, kind in seen
        ]
        return CheckRun(runs, [(-1, "bridge", "starting")])

    report = await look(plan(SCHEDULED, topology=topology), run_in_notebook=run_in_notebook)
    assert report.ok, str(report)


async def test_links_out_of_the_directory_lead_where_they_led(tmp_path):
    out = tmp_path / "demo"
    out.mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "x.txt").write_text("here")
    (out / "data").symlink_to("../shared")
    body = "    await client.publish('demo.read', {'text': Path('data/x.txt').read_text()})"
    report = await look(
        plan(f"%%worker bridge\n{WORKER}{body}\n"), out, events=[make_envelope("demo.asked", {"n": 1})]
    )
    assert report.ok, str(report)


async def test_an_interrupt_while_the_directory_is_copied_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    out = tmp_path / "demo"
    for number in range(2_000):
        (out / str(number % 50)).mkdir(parents=True, exist_ok=True)
        (out / str(number % 50) / f"{number}.txt").touch()
    task = asyncio.create_task(look(plan(f"%%worker bridge\n{WORKER}"), out))
    while not any((tmp_path / "tmp").rglob("*.txt")):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_a_handler_that_one_side_lacks_is_told():
    made = plan(f"%%worker bridge\n{WORKER}")
    report = await look(made, handlers={"bridge": [("on_event", "demo.other", "on_other")]})
    assert "- on_event demo.other on_other" in failed(report)
    assert "+ on_event demo.asked on_asked" in failed(report)


async def test_gated_workers_run_too_and_programs_are_started():
    cells = [
        "%%capability\nname: demo\nversion: 1.0.0\ndescription: d\nflags: {beta: {description: b}}",
        f"%%worker bridge --when beta\n{WORKER}",
        "%%worker prog --command sh\nsleep 60",
        "%%worker bad --command sh\nexit 3",
    ]
    report = await look(plan(*cells))
    told = failed(report)
    assert "bad is error" in told
    assert "bridge" not in told
    assert "prog is running" in str(report)


async def test_what_others_have_in_the_directory_is_there_and_not_touched(tmp_path):
    out = tmp_path / "demo"
    (out / "agents").mkdir(parents=True)
    (out / "agents" / "a.md").write_text("---\nname: a\ndescription: d\n---\nyou are a\n")
    head = "%%capability\nname: demo\nversion: 1.0.0\ndescription: d\nagents: [agents]"
    before = sorted(out.rglob("*"))
    report = await look(plan(head, f"%%worker bridge\n{WORKER}"), out)
    assert report.ok, str(report)
    assert sorted(out.rglob("*")) == before


async def test_a_check_that_is_cancelled_ends_all_that_it_ran_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    firing = asyncio.Event()
    others = psutil.Process().children(recursive=True)  # of tests before this one

    def on_progress(text, done, total):
        if text.startswith("firing"):
            firing.set()

    cell = f"%%worker bridge\nimport asyncio\n{WORKER}    await asyncio.sleep(600)\n"
    task = asyncio.create_task(
        look(plan(cell), events=[make_envelope("demo.asked", {"n": 1})], on_progress=on_progress)
    )
    await firing.wait()
    mine = [child for child in psutil.Process().children(recursive=True) if child not in others]
    assert mine
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gone, alive = psutil.wait_procs(mine, timeout=60)
    assert not alive
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        "os.system('echo hi')",
        "print('hi')",
        "import threading, time; threading.Thread(target=time.sleep, args=[600]).start()",
    ],
)
async def test_what_handlers_in_process_write_or_leave_running_is_no_answer(body):
    cell = f"%%worker bridge\n{WORKER}    {body}\n"
    report = await look(plan(cell, topology="in-process"), events=[make_envelope("demo.asked", {"n": 1})])
    assert report.ok, str(report)


async def test_a_handler_that_holds_the_loop_is_told_and_ended(monkeypatch):
    monkeypatch.setattr("dnworker_jupyter.export.check.sandbox.END_SECONDS", 0.2)

    def on_progress(text, done, total):
        if text.startswith("firing"):  # what comes before may take as long as it likes
            monkeypatch.setattr("dnworker_jupyter.export.check.sandbox.UP_SECONDS", 0.5)

    cell = f"%%worker bridge\nimport time\n{WORKER}    time.sleep(600)\n"
    report = await look(
        plan(cell, topology="in-process"),
        events=[make_envelope("demo.asked", {"n": 1})],
        timeout=0.5,
        on_progress=on_progress,
    )
    assert "it stood still for 1 s, firing demo.asked: something holds its loop" in failed(report)


async def test_files_that_the_export_removes_are_not_there(tmp_path):
    out = tmp_path / "demo"
    first = f"%%worker bridge\nimport helper_of_old\n{WORKER}    print(helper_of_old)\n"
    (tmp_path / "helper_of_old.py").write_text("X = 1\n")
    write(plan(first, beside=tmp_path), out)
    second = (
        f"%%worker bridge\nimport importlib\n{WORKER}    importlib.import_module(event.payload['module'])\n"
    )
    event = make_envelope("demo.asked", {"n": 1, "module": "helper_of_old"})
    report = await look(plan(second), out, events=[event])
    assert "ModuleNotFoundError" in failed(report)


async def test_checks_of_the_manifest_run_once_and_in_the_clean_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_OWN_TOKEN", "secret")
    monkeypatch.setenv("UV_PUBLISH_TOKEN", "secret")
    monkeypatch.setenv("UV_INDEX_MINE_PASSWORD", "secret")
    seen = tmp_path / "seen"
    head = f"""%%capability
name: demo
version: 1.0.0
description: d
checks:
  - name: look
    command: env >> {seen}; echo --- >> {seen}
"""
    report = await look(plan(head, f"%%worker bridge\n{WORKER}"))
    assert report.ok, str(report)
    assert seen.read_text().count("---") <= 2, "by the validator, and when the runtime loads it"
    assert "secret" not in seen.read_text()


async def test_a_check_of_the_manifest_that_fails_is_told():
    head = (
        "%%capability\nname: demo\nversion: 1.0.0\ndescription: d\nchecks:\n  - {name: bad, command: exit 3}"
    )
    assert "check bad" in failed(await look(plan(head, f"%%worker bridge\n{WORKER}")))


async def test_any_python_by_its_name_has_its_environment(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin")
    (tmp_path / "bin" / "python3.98").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python3.98").chmod(0o755)
    cell = "%%worker prog --command python3.98 --file p.py\nimport dnworker, time\ntime.sleep(60)"
    report = await look(plan(f"%%worker bridge\n{WORKER}", cell))
    assert "prog is running" in str(report)


async def test_an_interpreter_for_the_sdk_that_is_not_there_is_named():
    report = await look(plan(f"%%worker bridge\n{WORKER}"), sdk="/nonexistent/python")
    assert "/nonexistent/python cannot be run: No such file or directory" in failed(report)


async def test_what_is_neither_file_nor_directory_is_passed_over(tmp_path):
    out = tmp_path / "demo"
    out.mkdir()
    os.mkfifo(out / "pipe")
    assert (await look(plan(f"%%worker bridge\n{WORKER}"), out)).ok


def notebook_file(directory: Path, *cells: str) -> Path:
    file = directory / "nb.ipynb"
    file.write_text(json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in cells]}))
    return file


def test_nothing_is_written_unless_the_check_passes(tmp_path, capsys):
    notebook, out, events = (
        notebook_file(tmp_path, f"%%worker bridge\n{WORKER}"),
        tmp_path / "out",
        tmp_path / "e.jsonl",
    )
    write_events(events, [make_envelope("demo.asked", {})])
    words = [
        "export",
        str(notebook),
        "-o",
        str(out),
        "--topology",
        "python",
        "--check",
        "--events",
        str(events),
    ]
    assert main([*words, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["findings"][-1]["ok"]) == (False, False)
    assert "KeyError" in told["findings"][-1]["details"][0]
    assert not out.exists()
    write_events(events, [make_envelope("demo.asked", {"n": 1})])
    assert main(words) == 0
    assert "check of out: passed" in capsys.readouterr().out
    assert (out / "workers" / "bridge.py").is_file()


def test_the_command_line_fires_what_the_notebooks_journal_has(tmp_path, monkeypatch, capsys):
    from dnworker import Runtime
    from dnworker_jupyter.kernel.journals import journal_of

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    notebook = notebook_file(tmp_path, f"%%worker bridge\n{WORKER}")
    journal = journal_of(notebook)
    assert journal is not None
    journal.parent.mkdir(parents=True)

    async def record():
        async with Runtime(port=None, journal=journal) as runtime:
            await runtime.fire("demo.asked", {"n": 1})
            await runtime.fire("demo.nobody", {})

    asyncio.run(record())
    assert (
        main(["export", str(notebook), "-o", str(tmp_path / "out"), "--topology", "python", "--check"]) == 0
    )
    assert "1 event fired at the export" in capsys.readouterr().out


def test_kinds_by_a_name_are_known_without_a_kernel(tmp_path, capsys):
    named = WORKER.replace('"demo.asked"', "KIND")
    cell = ["PREFIX = 'demo'\nKIND = f'{PREFIX}.asked'\n", f"%%worker bridge\n{named}"]
    notebook, events = notebook_file(tmp_path, *cell), tmp_path / "e.jsonl"
    write_events(events, [make_envelope("demo.asked", {"n": 1})])
    words = ["export", str(notebook), "-o", str(tmp_path / "out"), "--topology", "python"]
    assert main([*words, "--check", "--events", str(events)]) == 0
    told = capsys.readouterr().out
    assert "has 1 handler, as the cells say" in told
    assert "1 event fired" in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_of_the_command_ends_the_harness_and_its_workers(tmp_path, number):
    process, children = until_up(tmp_path)
    try:
        process.send_signal(number)
        process.communicate(timeout=90)
        assert not psutil.wait_procs(children, timeout=60)[1]
    finally:
        process.kill()
        process.communicate()
    assert not (tmp_path / "out").exists()


def test_an_edited_file_is_refused_before_the_check_begins(tmp_path, capsys):
    notebook, out = notebook_file(tmp_path, f"%%worker bridge\n{WORKER}"), tmp_path / "out"
    words = ["export", str(notebook), "-o", str(out), "--topology", "python"]
    assert main(words) == 0
    (out / "workers" / "bridge.py").write_text("mine")
    notebook.write_text(notebook.read_text().replace("demo.answered", "demo.said"))
    assert main([*words, "--check"]) == 1
    assert "was edited since the last export" in capsys.readouterr().err


def test_a_file_of_events_that_nobody_hears_is_refused(tmp_path, capsys):
    notebook, events = notebook_file(tmp_path, f"%%worker bridge\n{WORKER}"), tmp_path / "e.jsonl"
    write_events(events, [make_envelope("zzz", {})])
    words = ["export", str(notebook), "-o", str(tmp_path / "out"), "--check", "--events", str(events)]
    assert main(words) == 1
    assert "has events of zzz, and the workers listen to demo.asked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--events", "e"], "--events is for a check"),
        (["--sdk", "p"], "--sdk is for a check"),
        (["--diff", "--check"], "--diff writes nothing"),
    ],
)
def test_options_that_do_nothing_are_refused(tmp_path, capsys, words, told):
    notebook = notebook_file(tmp_path, f"%%worker bridge\n{WORKER}")
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(notebook), "-o", str(tmp_path / "out"), *words])
    assert told in capsys.readouterr().err


def until_up(tmp_path: Path) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """Begin an export whose check goes on for ever; returns it and what it runs, once its worker is up."""
    up = tmp_path / "up"
    cell = (
        f"%%worker bridge\n{WORKER}\n@worker.on_startup\nasync def start(client):\n    import asyncio\n"
        f"    Path({str(up)!r}).touch()\n    await asyncio.sleep(600)\n"
    )
    notebook = notebook_file(tmp_path, cell)
    words = ["export", str(notebook), "-o", str(tmp_path / "out"), "--topology", "python", "--check"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dnworker", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not up.exists():
        assert process.poll() is None, process.communicate()[0]
        psutil.wait_procs([psutil.Process(process.pid)], timeout=0.05)
    return process, psutil.Process(process.pid).children(recursive=True)


def test_ctrl_c_writes_nothing_and_leaves_nothing_running(tmp_path):
    process, children = until_up(tmp_path)
    try:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=90)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert said.strip().endswith("dnworker: interrupted; nothing was written")
    assert "Traceback" not in said
    assert not psutil.wait_procs(children, timeout=60)[1]
    assert not (tmp_path / "out").exists()


def test_handlers_that_a_loop_registers_are_no_difference_for_a_file(tmp_path, capsys):
    loop = "for kind in ('a', 'b'):\n    @worker.on_event(kind)\n    async def h(event, client): ...\n"
    notebook = notebook_file(tmp_path, f"%%worker bridge\n{loop}")
    options = ["--target", "dnworker", "--topology", "in-process", "--check"]
    assert main(["export", str(notebook), "-o", str(tmp_path / "out"), *options]) == 0
    assert "bridge has 2 handlers, as the cells say" in capsys.readouterr().out
