"""A worker process that reports nothing is shown as one, with the reason."""

from __future__ import annotations

import argparse
import asyncio
from types import SimpleNamespace

import pytest

from dnworker import Runtime, RuntimeClient
from dnworker.capability.manifest import WorkerDefinition
from dnworker.cli import made_runtime, serve
from dnworker.cli.ps import _ps
from dnworker.core.errors import UsageError
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.panel.actions import Actions
from dnworker.panel.model import PanelModel
from dnworker.workers import subprocess_worker
from dnworker.workers.silence import reason
from dnworker_jupyter.display.tables import worker_table, workers_table
from dnworker_jupyter.magics.runtime import RuntimeOptions, run_runtime

from ..capabilities import ECHO, make_capability


@pytest.mark.parametrize(
    ("command", "args", "is_observed", "why"),
    [
        ("node", ("w.js",), True, "node reports nothing: Workers in Python do"),
        ("/bin/sh", ("w.sh",), True, "sh reports nothing: Workers in Python do"),
        (
            "python3",
            ("-I", "w.py"),
            True,
            "its Python runs with -I, and so without what makes a worker report",
        ),
        ("python", ("-u", "-BS", "w.py"), True, "its Python runs with -BS, and so without what"),
        ("python", ("-u", "w.py", "-I"), True, "no Worker of dnworker or of the SDK runs in it"),
        ("python", ("-W", "error::ImportWarning", "-Ximporttime", "-WIgnore", "w.py"), True, "no Worker of"),
        ("python", ("-uWerror", "-W", "once", "-s", "-E", "w.py"), True, "its Python runs with -E"),
        ("uv", ("run", "w.py"), False, "it is not observed, and no Worker of dnworker"),
    ],
)
def test_the_reason_is_what_is_known_of_the_program(command, args, is_observed, why):
    definition = WorkerDefinition("w", command=command, args=args)
    assert reason(definition, is_observed=is_observed).startswith(why)


@pytest.fixture
async def served(monkeypatch):
    monkeypatch.setattr(subprocess_worker, "PROGRAM_LIMIT", 0.05)
    async with Runtime(port=0) as started:
        yield started


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_shell_worker_is_shown_as_one_that_runs_without_reporting(served, tmp_path, capsys):
    root = make_capability(tmp_path, "w: {command: sh, args: ['-c', 'sleep 60']}")
    changes = asyncio.Event()
    await served.load(root)
    served.listen(changes.set)
    worker = served.worker("w")
    await changes.wait()  # nobody asked: it is told when it is known
    told = "runs without reporting: sh reports nothing: Workers in Python do"
    assert workers_table(served.workers()).rows[0][-1] == told
    assert told in repr(worker_table(worker, {}, served.clock))
    found = PanelModel(served, Actions(served)).worker_to_json(worker)
    assert found["silent"] == "sh reports nothing: Workers in Python do"
    async with RuntimeClient(served.url, auth_token=served.tokens.main) as client:
        await _ps(client, argparse.Namespace(json=False, wide=False))
    assert told in capsys.readouterr().out
    await worker.stop()
    assert worker.why_silent is None


async def test_it_is_said_once_of_a_silent_process_that_nothing_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess_worker, "PROGRAM_LIMIT", 0.05)
    root = make_capability(tmp_path, "w: {command: sh, args: ['-c', 'sleep 60']}")
    async with Runtime(port=0, broker=SqliteBroker(tmp_path / "events.db"), retry={"demo:w": "2"}) as runtime:
        await runtime.load(root)
        worker = runtime.worker("w")

        def said():
            return [line.text for line in runtime.logs.lines(0, 100) if "not tried again" in line.text]

        await until(lambda: worker.why_silent is not None and said())
        runtime.services.on_change(worker, announce=False, moved=False)
        assert said() == [
            "its events are not tried again: sh reports nothing: Workers in Python do, so nobody knows what "
            "fails in it; it can give events back itself (nak)"
        ]


async def test_a_worker_of_ours_reports_without_being_observed(served, tmp_path):
    served.services.observation.is_on = False
    root = make_capability(
        tmp_path, "echo: {command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']}", {"echo.py": ECHO}
    )
    await served.load(root)
    worker = served.worker("echo")
    await until(lambda: worker.remote.reports)
    assert worker.why_silent is None
    assert "silent" not in PanelModel(served, Actions(served)).worker_to_json(worker)


def test_serve_observes_unless_it_is_told_not_to():
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    for given, is_on in (([], True), (["--no-observe"], False)):
        runtime = made_runtime.make_runtime(parser.parse_args(given))
        assert runtime.services.observation.is_on is is_on


async def test_a_notebook_turns_it_off_and_on_again():
    context = SimpleNamespace(runtime=Runtime(port=None))
    said = await run_runtime(context, RuntimeOptions("observe", "off"))
    assert "run without reporting" in said.text
    assert context.runtime.services.observation.is_on is False
    said = await run_runtime(context, RuntimeOptions("observe"))
    assert said.text == "worker processes of the SDK run without reporting"
    said = await run_runtime(context, RuntimeOptions("observe", "on"))
    assert "report what their handlers do; those that run now are as they were started" in said.text
    with pytest.raises(UsageError, match="on or off is wanted"):
        await run_runtime(context, RuntimeOptions("observe", "hold"))
