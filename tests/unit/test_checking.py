"""The check of an export: it runs for real, in a clean environment, and its failures are told."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from dnworker.cli.main import main
from dnworker.replay import write_events
from dnworker.testing import make_envelope
from dnworker_jupyter.cells import Cell
from dnworker_jupyter.export.checking import CheckReport, check
from dnworker_jupyter.export.difference import handlers_of
from dnworker_jupyter.export.plan import Plan, plan_export

pytestmark = pytest.mark.timeout(120)

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
    handlers = {name: handlers_of(made.files[path].decode()) for name, path in made.scripts.items()}
    return await check(made, directory, **{"handlers": handlers, **options})


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
    notebook = [
        ("bridge.on_asked", "publishes demo.answered", {"n": 2}),
        ("bridge.on_asked", "publishes demo.seen", {"token": False, "named": "given", "home": []}),
    ]

    async def rehearse(events, tell):
        return [notebook for _ in events]

    report = await look(plan(cell), events=[make_envelope("demo.asked", {"n": 1})], rehearse=rehearse)
    assert report.ok, str(report)
    assert "secret" not in str(report)


async def test_an_error_at_the_export_alone_is_a_failure():
    report = await look(plan(f"%%worker bridge\n{WORKER}"), events=[make_envelope("demo.asked", {}, seq=7)])
    assert "#7 demo.asked: bridge.on_asked raises KeyError: 'n'" in failed(report)


async def test_events_that_do_something_else_are_told_side_by_side():
    async def rehearse(events, tell):
        return [[("bridge.on_asked", "publishes demo.answered", {"n": 3})]]

    made = plan(f"%%worker bridge\n{WORKER}")
    report = await look(made, events=[make_envelope("demo.asked", {"n": 1}, seq=7)], rehearse=rehearse)
    assert failed(report).splitlines()[1:] == [
        "      #7 demo.asked",
        '        - bridge.on_asked publishes demo.answered {"n": 3}',
        '        + bridge.on_asked publishes demo.answered {"n": 2}',
    ]


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

    def tell(text, done, total):
        if text.startswith("firing"):
            firing.set()

    cell = f"%%worker bridge\nimport asyncio\n{WORKER}    await asyncio.sleep(600)\n"
    task = asyncio.create_task(look(plan(cell), events=[make_envelope("demo.asked", {"n": 1})], tell=tell))
    await firing.wait()
    mine = psutil.Process().children(recursive=True)
    assert mine
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gone, alive = psutil.wait_procs(mine, timeout=20)
    assert not alive
    assert list(tmp_path.iterdir()) == []


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
    from dnworker_jupyter.journals import journal_of

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


def test_ctrl_c_writes_nothing_and_leaves_nothing_running(tmp_path):
    cell = f"%%worker bridge\n{WORKER}\n@worker.on_startup\nasync def start(client):\n    Path({str(tmp_path / 'up')!r}).touch()\n    import asyncio\n    await asyncio.sleep(600)\n"
    notebook = notebook_file(tmp_path, cell)
    process = subprocess.Popen(
        [sys.executable, "-m", "dnworker", "export", str(notebook), "-o", str(tmp_path / "out"), "--topology",
         "python", "--check"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        while not (tmp_path / "up").exists():
            assert process.poll() is None, process.communicate()[0]
            psutil.wait_procs([psutil.Process(process.pid)], timeout=0.05)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert said.strip().endswith("dnworker: interrupted; nothing was written")
    assert "Traceback" not in said
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert not (tmp_path / "out").exists()
