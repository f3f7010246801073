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
from dnworker_jupyter.magics.worker import WorkerOptions, run_worker_line


@pytest.fixture
async def context():
    """As much of a context as `%worker` needs for a worker that no cells made."""
    async with Runtime(port=None) as runtime:
        await runtime.add(Worker("bridge"))
        parts: dict[str, Any] = dict.fromkeys(MagicContext.__dataclass_fields__)
        parts |= {"runtime": runtime, "live": LiveWorkers(), "shell": SimpleNamespace(user_ns={})}
        parts["transactions"] = SimpleNamespace(forget=lambda managed: None)
        yield MagicContext(**cast(Any, parts))


async def run(context: MagicContext, line: str) -> str:
    return str(await run_worker_line(context, WorkerOptions(line.split(), 50)))


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
        ("bridgee", "bridgee"),
    ],
)
async def test_what_a_line_cannot_do_is_told_with_the_way_out(context, line, problem):
    with pytest.raises(UsageError) as raised:
        await run(context, line)
    assert problem in str(raised.value)
