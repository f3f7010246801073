"""Runs the shell checks of manifests (contract 4.2): bounded in time, output and number, and ended whole.

A capability runs them when it is loaded, an examination only where it is asked to.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from dnworker.capability.environment import with_entries
from dnworker.capability.manifest import CheckDefinition
from dnworker.capability.reading import shown
from dnworker.core.models import ComponentInfo
from dnworker.core.text import clip

CHECK_TIMEOUT = 5.0
"""Seconds that a check may take (contract 4.2)."""

SIDE_BY_SIDE = 8
"""Checks of one capability that run at a time."""

LONGEST_OUTPUT = 65_536
"""Bytes that are kept of the beginning of its standard error, and of the end; the rest is dropped."""

DRAIN_SECONDS = 1.0
"""Seconds for what it wrote to arrive, after its end."""

_LONGEST_ERROR = 4_000

OnRun = Callable[[CheckDefinition], None]
"""Called with a check right before it runs."""


async def run_checks(
    checks: Iterable[CheckDefinition],
    root: Path,
    path_entries: tuple[str, ...] = (),
    on_run: OnRun = lambda check: None,
) -> list[ComponentInfo]:
    """Run checks side by side, and return their entries in order; a failed one is an entry with its error."""
    free = asyncio.Semaphore(SIDE_BY_SIDE)

    async def run(check: CheckDefinition) -> ComponentInfo:
        async with free:
            on_run(check)
            error = await _error_of(check.command, root, path_entries)
        status = "ok" if error is None else "error"
        return ComponentInfo(kind="check", name=shown(check.name), status=status, error=error)

    return list(await asyncio.gather(*map(run, checks)))


async def _error_of(command: str, root: Path, path_entries: tuple[str, ...]) -> str | None:
    """Run a command by the shell in the capability's directory; returns why it failed, or None.

    Programs are also searched in `path_entries`, the capability's `dependencies.path`.
    """
    path = with_entries(os.environ.get("PATH", os.defpath), path_entries, root)
    environ = {**os.environ, "PATH": path}
    try:
        code, text = await run_bounded(["/bin/sh", "-c", command], CHECK_TIMEOUT, cwd=root, env=environ)
    except TimeoutError:
        return f"timed out after {CHECK_TIMEOUT:g}s"
    except (OSError, ValueError) as exc:  # its directory is gone, or a variable has a NUL
        return str(exc)
    return None if code == 0 else clip(text.strip(), _LONGEST_ERROR) or f"exit code {code}"


async def run_bounded(
    command: Sequence[str], seconds: float, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a program to its end; returns its exit code, and the beginning and the end of its standard error.

    It has no standard input, its standard output is dropped, and what it started in its process group
    ends with it.

    Raises:
        TimeoutError: it took longer than `seconds`, and was killed.
        OSError: it could not be started.
        ValueError: an argument or a variable has a NUL.
    """
    # A pipe of our own: asyncio's wait() returns only when its pipes are closed, and what a program leaves
    # behind may hold them open (before Python 3.12.4).
    reading_end, writing_end = os.pipe()
    try:
        process = await _spawn(command, cwd, env, writing_end)
    except BaseException:
        os.close(reading_end)
        raise
    finally:
        os.close(writing_end)
    from dnworker.workers.subprocess_runner import end_at_once  # few capabilities have checks

    # Nothing is awaited before `try`: a cancellation there would leave the process behind.
    pipe = os.fdopen(reading_end, "rb", buffering=0)
    errors = asyncio.create_task(_ends_of(pipe), name="standard error of a program")
    try:
        async with asyncio.timeout(seconds):
            code = await process.wait()
        _kill_group(process.pid)  # so that nothing it left behind holds its standard error open
        await asyncio.wait({errors}, timeout=DRAIN_SECONDS)
        return code, errors.result() if errors.done() else ""
    finally:
        _kill_group(process.pid)
        errors.cancel()
        await end_at_once(process)
        pipe.close()  # of a task that was cancelled before it began


async def _spawn(
    command: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None, errors: int
) -> asyncio.subprocess.Process:
    """Start a program in a group of its own; where that is interrupted, what has been started ends."""
    spawning = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    )
    from dnworker.workers.subprocess_runner import end_at_once

    try:
        return await asyncio.shield(spawning)
    except asyncio.CancelledError:
        with suppress(OSError, ValueError):
            await end_at_once(await spawning)
        raise


async def _ends_of(pipe: IO[bytes]) -> str:
    """Return the beginning and the end of what a pipe gives; what is between is read and dropped."""
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), pipe
    )
    first = last = b""
    try:
        while chunk := await stream.read(LONGEST_OUTPUT):
            room = LONGEST_OUTPUT - len(first)
            first += chunk[:room]
            last = (last + chunk[room:])[-LONGEST_OUTPUT:] if len(chunk) > room else last
    finally:
        transport.close()
    return (first + last).decode(errors="replace")


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
