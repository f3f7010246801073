"""Shell checks are bounded in time, output and number, and nothing that they start stays."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import pytest

from dnworker.capability.manifest import CheckDefinition
from dnworker.engine import checks as checking
from dnworker.engine.checks import run_bounded, run_checks

pytestmark = pytest.mark.timeout(60)


async def run(root, *commands: str, on_run=lambda check: None):
    found = await run_checks([CheckDefinition(c[:8], c) for c in commands], root, on_run=on_run)
    return [(one.status, one.error) for one in found]


@pytest.mark.clause("4.2 checks")
async def test_checks_are_run_in_the_capabilitys_directory_and_answered_in_order(tmp_path):
    (tmp_path / "here").touch()
    answers = await run(
        tmp_path, "test -f here", "echo no disk >&2; exit 3", "exit 4", "read x && exit 0 || exit 5"
    )
    assert answers == [("ok", None), ("error", "no disk"), ("error", "exit code 4"), ("error", "exit code 5")]


async def test_a_check_is_announced_before_it_runs(tmp_path):
    seen = []
    await run(
        tmp_path, "touch ran", on_run=lambda check: seen.append((check.command, (tmp_path / "ran").exists()))
    )
    assert seen == [("touch ran", False)]
    assert (tmp_path / "ran").exists()


async def test_a_check_that_prints_without_end_is_ended_and_costs_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "CHECK_TIMEOUT", 1.0)
    tracemalloc.start()
    try:
        answers = await run(
            tmp_path, "yes aaaaaaaaaaaaaaaa >&2", "yes", "head -c 50000000 /dev/zero >&2; exit 1"
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [status for status, _ in answers] == ["error", "error", "error"]
    assert answers[0][1] == answers[1][1] == "timed out after 1s"
    assert len(str(answers[2][1])) < 5_000
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("sleep 300 & echo $! > pid; exit 0", ("ok", None)),
        ("sleep 300 & echo $! > pid; echo why >&2; exit 1", ("error", "why")),
        ("sleep 300 & echo $! > pid; wait", ("error", "timed out after 1s")),
        ("trap '' TERM INT HUP; sleep 300 & echo $! > pid; wait", ("error", "timed out after 1s")),
    ],
    ids=["ok", "failed", "late", "deaf"],
)
async def test_what_a_check_started_ends_with_it(tmp_path, monkeypatch, command, answer):
    monkeypatch.setattr(checking, "CHECK_TIMEOUT", 1.0)
    assert await run(tmp_path, command) == [answer]
    await until_gone((tmp_path / "pid").read_text().strip())


async def until_gone(pid: str) -> None:
    """Return when a process has ended."""
    async with asyncio.timeout(60):
        while not _is_gone(pid):
            await asyncio.sleep(0.01)


def _is_gone(pid: str) -> bool:
    """Return whether a process has ended: it is not there, or waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_a_cancelled_check_leaves_no_process(tmp_path):
    task = asyncio.create_task(run_bounded(["/bin/sh", "-c", "echo $$ > pid; sleep 300"], 60, cwd=tmp_path))
    async with asyncio.timeout(60):
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_gone((tmp_path / "pid").read_text().strip())


async def test_at_most_eight_checks_run_side_by_side(tmp_path):
    command = "mkdir n.$$; ls -d n.* | wc -l > s.$$; sleep 0.2; rmdir n.$$"
    await run(tmp_path, *[command] * 20)
    assert 1 < max(int(file.read_text()) for file in tmp_path.glob("s.*")) <= 8


async def test_a_check_in_a_directory_that_is_gone_says_so(tmp_path):
    ((status, error),) = await run(tmp_path / "gone", "true")
    assert status == "error"
    assert "No such file" in str(error)
