"""Runs uv for environments and locks of scripts (PEP 723); used by export.py and check."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from uv import find_uv_bin

from dnworker.capability.manifest import WorkerDefinition, load_manifest
from dnworker.core.errors import UsageError
from dnworker.workers.subprocess_runner import end_at_once
from dnworker_jupyter.export.disk.atomic import remove
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.files import LOCK
from dnworker_jupyter.export.planning.plan import Plan
from dnworker_jupyter.export.planning.types import OnProgress

UV = find_uv_bin()
_WORDS = (UV, "--color", "never")  # a notebook sets FORCE_COLOR, and a coloured path is not a path

LONGEST_OUTPUT = 2_000
"""Characters of a failed program's output that are reported: the last ones, which say why."""


def uv_script(root: Path, worker: WorkerDefinition) -> Path | None:
    """Return the script that a worker runs by `uv run`; None for any other."""
    if worker.command != "uv" or worker.args[:1] != ("run",) or len(worker.args) < 2:
        return None
    script = Path(root, worker.args[-1])
    return script if script.suffix == ".py" and script.is_file() else None


async def provision(script: Path) -> str | None:
    """Make a script's environment, from uv's cache if that has everything; returns the error, if any."""
    return await _first_from_cache("sync", "--script", str(script))


async def python_of(script: Path) -> str | None:
    """Return the interpreter of a script's environment; None where there is no environment."""
    try:
        return await ask_uv("python", "find", "--offline", "--script", str(script))
    except UsageError:
        return None


async def forget(script: Path) -> None:
    """Remove a script's environment: uv would keep it for ever."""
    python = await python_of(script)
    if python is None:
        return
    environment = Path(python).parents[1]
    if environment.parent.name.startswith("environments"):  # one in uv's cache; any other is not ours
        await asyncio.to_thread(remove, environment)


async def ask_uv(*words: str) -> str:
    """Return the last line of uv's output, such as a path.

    Raises:
        UsageError: uv fails.
    """
    code, output = await run(*_WORDS, *words)
    lines = output.strip().splitlines()
    if code or not lines:
        raise UsageError(
            f"uv {' '.join(words)} failed: {output.strip()[-LONGEST_OUTPUT:] or f'code {code}'}", code="DN507"
        )
    return lines[-1]


async def locked(plan: Plan, directory: Path, on_progress: OnProgress) -> Plan:
    """Return the plan with the lock of every script that runs under uv, `workers/NAME.py.lock`.

    Versions that the lock of the last export has are kept, as far as the requirements allow.

    Raises:
        UsageError: uv finds no compatible versions, or cannot reach the index.
    """
    with tempfile.TemporaryDirectory(prefix="dnworker-lock-") as temporary:
        root = Path(temporary, plan.name).resolve()
        write(plan, root)
        manifest = load_manifest(root)
        scripts = [s for w in manifest.workers.values() if (s := uv_script(root, w)) is not None]
        files = dict(plan.files)
        for number, script in enumerate(scripts):
            path = f"{script.relative_to(root).as_posix()}{LOCK}"
            on_progress(f"waiting for uv to lock {script.name}", number, len(scripts))
            if (directory / path).is_file():
                shutil.copyfile(directory / path, root / path)
            if (problem := await _first_from_cache("lock", "--script", str(script))) is not None:
                raise UsageError(
                    f"{path}: uv could not make it; nothing was written\n{problem}", code="DN507"
                )
            files[path] = (root / path).read_bytes()
    return replace(plan, files=dict(sorted(files.items())))


def with_old_locks(plan: Plan, directory: Path) -> Plan:
    """Return the plan with the locks of the last export whose scripts are as they were."""
    kept = {}
    for path in plan.scripts.values():
        script, lock = directory / path, directory / f"{path}{LOCK}"
        if lock.is_file() and script.is_file() and script.read_bytes() == plan.files[path]:
            kept[f"{path}{LOCK}"] = lock.read_bytes()
    return replace(plan, files=dict(sorted((plan.files | kept).items()))) if kept else plan


async def _first_from_cache(*words: str) -> str | None:
    """Run uv without the network, and again with it if that fails; returns the error, if there is one."""
    output = ""
    for where in ("--offline", "--no-progress"):
        code, output = await run(*_WORDS, *words, where)
        if code == 0:
            return None
    return output.strip()[-LONGEST_OUTPUT:] or "it has no output"


async def run(*words: str) -> tuple[int, str]:
    """Run a program, and return its exit code and its output; cancelling this ends the program."""
    process = await asyncio.create_subprocess_exec(
        *words, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            await end_at_once(process)
    return process.returncode or 0, output.decode(errors="replace")
