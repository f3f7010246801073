"""One capability: loaded once, with its checks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dnworker import ManifestError, Runtime, Worker
from dnworker.capability.components import Components
from dnworker.capability.manifest import CheckDefinition, parse_manifest
from dnworker.engine.capability import Capability, undeclared
from dnworker.engine.checks import run_checks

from ..capabilities import ECHO, make_capability


async def test_one_capability_is_loaded_once(runtime, tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(tmp_path)
    with pytest.raises(ManifestError, match="'demo' is loaded already"):
        await runtime.load(tmp_path)


@pytest.mark.clause("4.2 checks")
async def test_checks_are_run_and_never_block_loading(runtime, tmp_path):
    head = "checks:\n- {name: good, command: 'true'}\n- {name: bad, command: 'echo why >&2; false'}\n"
    capability = await runtime.load(
        make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO}, head)
    )
    assert [(c.name, c.status, c.error) for c in capability.checks] == [
        ("good", "ok", None),
        ("bad", "error", "why"),
    ]


async def test_flags_of_the_command_line_hold_for_the_name_that_they_were_given_for(tmp_path):
    head = "name: {}\nversion: 0.1.0\ndescription: d\nflags: {{relay: {{description: f}}}}\n"
    async with Runtime(port=None, flags={"given": {"relay": True}}) as runtime:
        for name, source in (("given", "cli"), ("other", "default"), ("given", "cli")):
            await runtime.declare(parse_manifest(head.format(name), tmp_path, is_head=True))
            assert runtime.capability().flags["relay"].source == source


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 8, 200])
async def test_a_check_that_is_interrupted_leaves_nothing_running(tmp_path, steps):
    command = f"echo $$ >> {tmp_path}/pids; sleep 3600 & echo $! >> {tmp_path}/pids; wait"
    check = asyncio.create_task(run_checks([CheckDefinition("slow", command)], tmp_path))
    for _ in range(steps):
        await asyncio.sleep(0)
    if steps == 200:  # and is under way
        async with asyncio.timeout(30):
            while not (tmp_path / "pids").is_file() or (tmp_path / "pids").read_text().count("\n") < 2:
                await asyncio.sleep(0.01)
    check.cancel()
    await asyncio.wait({check})
    assert check.cancelled()
    pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").is_file() else []
    async with asyncio.timeout(30):
        while [pid for pid in pids if is_running(pid)]:
            await asyncio.sleep(0.01)


def is_running(pid):
    """Return whether a process has not ended; nobody may have waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_the_repr_of_workers_and_capabilities_is_one_short_line(runtime, tmp_path):
    added = await runtime.add(Worker("bridge"))
    assert repr(added) == "<worker notebook:bridge: running, in-process>"
    assert repr(runtime.capability()) == "<capability notebook: bridge running>"
    head = "flags:\n  relay: {description: the relay}\n"
    made = make_capability(tmp_path, "echo: {path: echo.py, when: [relay]}", {"echo.py": ECHO}, head)
    loaded = await runtime.load(made)
    assert repr(loaded) == "<capability demo: echo gated_off>"
    assert repr(runtime.workers()) == (
        "[<worker notebook:bridge: running, in-process>, <worker demo:echo: gated_off, in-process>]"
    )


async def test_the_repr_of_a_capability_names_a_few_of_many_workers(runtime):
    assert repr(Capability(undeclared("empty"), Components())) == "<capability empty: no workers>"
    for number in range(7):
        await runtime.add(Worker(f"w{number}"))
    shown = repr(runtime.capability())
    assert (
        shown == "<capability notebook: " + "".join(f"w{n} running, " for n in range(5))[:-2] + " and 2 more>"
    )
    failed = Capability(undeclared("broken"), Components(), failure="line 1: no YAML")
    assert repr(failed) == "<capability broken: not loaded>"
