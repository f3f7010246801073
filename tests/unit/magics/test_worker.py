"""What `%worker` lines do, by the words of the line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dnworker.core.errors import UsageError
from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.worker import WorkerOptions, run_worker_line, worker_line_parser


@pytest.fixture
async def context():
    """As much of a context as `%worker` needs for a worker that no cells made."""
    async with Runtime(port=None) as runtime:
        await runtime.add(Worker("bridge"))
        parts: dict[str, Any] = dict.fromkeys(MagicContext.__struct_fields__)
        parts |= {"runtime": runtime, "live": LiveWorkers(), "shell": SimpleNamespace(user_ns={})}
        parts["transactions"] = SimpleNamespace(forget=lambda managed: None)
        yield MagicContext(**cast(Any, parts))


async def run(context: MagicContext, line: str) -> str:
    return str(await run_worker_line(context, worker_line_parser().read_as(WorkerOptions, line.split())))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", "notebook:bridge  running"),
        ("list", "notebook:bridge  running"),
        ("bridge", "notebook:bridge is running"),
        ("logs bridge", "bridge has no output yet"),
        ("stop bridge", "bridge is stopped"),
        ("restart bridge", "bridge is running"),
        ("remove bridge", "bridge is removed"),
    ],
)
async def test_a_line_shows_or_controls(context, line, shown):
    assert shown in await run(context, line)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("stop", "%worker stop needs the worker's name"),
        ("stop bridge other", "%worker stop takes one name, not 'bridge other'"),
        ("restrt bridge", "not 'restrt bridge'; did you mean restart?"),
        ("topology bridge", "%worker topology takes a name and one of in-process, python, uv"),
        ("topology bridge pyton", "there is no topology 'pyton'; there are: in-process, python, uv; did you"),
        ("topology bridge uv", "'bridge' was not made of cells with handlers"),
        ("rollback bridge", "'bridge' was not made of cells with handlers"),
        ("rollback bridge five", "takes the number of a generation, not 'five'"),
        ("rollback bridge 5", "'bridge' was not made of cells with handlers"),
        ("bridgee", "bridgee"),
    ],
)
async def test_what_a_line_cannot_do_is_told_with_the_way_out(context, line, problem):
    with pytest.raises(UsageError) as raised:
        await run(context, line)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("bridge --cell 3", "--cell goes with: %worker remove NAME.HANDLER"),
        ("restart bridge --for demo.a", "--for goes with: %worker remove NAME.HANDLER"),
        ("remove bridge --cell 0", "--cell and --for go with one handler"),
        ("remove bridge.on_a --drop", "--drop goes with: %worker resume"),
        ("--drop", "--drop goes with: %worker resume"),
        ("list --all", "--all goes with: %worker logs NAME"),
        ("state bridge --grep x", "--grep goes with: %worker logs NAME"),
        ("stop bridge --event #1", "--event goes with: %worker logs NAME"),
        ("stop bridge --show 0", "--show goes with: %worker logs NAME"),
        ("stop bridge --last 50", "--last goes with: %worker logs NAME"),
        ("stop bridge --before 1", "--before goes with: %worker state NAME or %worker logs NAME"),
        ("logs bridge --restore #1", "--restore goes with: %worker state NAME"),
        ("state bridge --keep k", "--keep goes with --before or --restore"),
        ("state bridge --keep k --changes on", "--keep goes with --before or --restore"),
        ("logs bridge --show 5 --grep x --before 3", "leave --grep, --before out"),
        ("logs bridge --all --last 3", "leave one of them out"),
        ("bridge --debug", "--debug goes with: %worker topology NAME TOPOLOGY"),
        ("bridge --wait", "--wait goes with: %worker topology NAME TOPOLOGY"),
        ("topology bridge python --wait", "--wait waits for a debugger, and goes with --debug"),
        ("resmue bridge --drop", "did you mean resume?"),
    ],
)
async def test_an_option_that_would_do_nothing_is_refused(context, line, problem):
    with pytest.raises(UsageError) as raised:
        await run(context, line)
    assert problem in str(raised.value)
    assert "running" in await run(context, "bridge")


async def test_options_of_the_log_go_together(context):
    assert "bridge" in await run(context, "logs bridge --last 3 --before 9 --grep x")
    assert await run(context, "logs bridge --all --grep x")
