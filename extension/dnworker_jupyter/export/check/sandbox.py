"""Starts the harness of an export in a clean environment, and listens to it; used by check."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.manifest import CapabilityManifest
from dnworker.workers.subprocess_runner import end_at_once
from dnworker_jupyter.export.check.harness import WAITS_FOR_SCENE, WAITS_FOR_UV, CheckRequest
from dnworker_jupyter.export.check.observe import START_SECONDS as UP_SECONDS
from dnworker_jupyter.export.check.observe import Scene
from dnworker_jupyter.export.disk.uv import UV, ask_uv
from dnworker_jupyter.export.planning.types import OnProgress

START_SECONDS = 60.0
"""Seconds for the harness to start and to import what it needs, until its first step."""

END_SECONDS = 10.0
"""Seconds for the harness to end in order, when it is done or the check was cancelled."""

LONGEST_LINE = 64 * 1024 * 1024
"""The limit of an answer in bytes: events are up to 1 MB each."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")
_KEPT = re.compile(
    r"LC_\w+|LANG|TZ|TERM|TMPDIR|SSL_CERT_\w+|(?:https?|no|all)_proxy|SYSTEMROOT|UV_(?:\w*INDEX\w*|FIND_LINKS"
    r"|CACHE_DIR|CONFIG_FILE|PYTHON\w*|OFFLINE|NATIVE_TLS|SYSTEM_CERTS|HTTP_TIMEOUT|INSECURE_HOST"
    r"|KEYRING_PROVIDER|CONCURRENT_\w+)",
    re.IGNORECASE,
)
"""Variables of the user's environment that the clean one has too.

The harness removes those that uv needs for fetching before workers start: an index may have a password.
"""


async def run_in_sandbox(
    request: CheckRequest,
    scene: Awaitable[Scene],
    manifest: CapabilityManifest,
    directory: Path,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Run the harness, and return its result, or why there is none; its process has ended then, in any case.

    Args:
        request: what the harness does.
        scene: what happens to the workers; it may take until environments are made.
        manifest: of the export, whose commands and variables its workers may have.
        directory: a directory for this run.
        on_progress: called with what is waited for.
    """
    directory.mkdir()
    environment = await _environment(directory, manifest)
    errors = directory / "harness.log"
    with errors.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dnworker_jupyter.export.check.harness",
            env=environment, cwd=request.root, start_new_session=True, limit=LONGEST_LINE,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        try:
            result = await _ask(process, request, scene, on_progress)
        finally:
            await _end(process)
    if result is not None:
        return result
    output = errors.read_text(errors="replace").strip().splitlines()[-10:]
    return {"error": "\n".join([f"its runtime ended with code {process.returncode}", *output])}


async def _ask(
    process: asyncio.subprocess.Process,
    request: CheckRequest,
    scene: Awaitable[Scene],
    on_progress: OnProgress,
) -> dict[str, Any] | None:
    """Send the request, and the scene when it is asked for; returns the result, or None without one."""
    assert process.stdin is not None and process.stdout is not None, "both were asked for as pipes"  # noqa: PT018
    process.stdin.write(msgspec.json.encode(request) + b"\n")
    await process.stdin.drain()  # it stays open: the harness ends when its input does
    step, longest = "", 0.0
    while True:
        # uv may download for as long as it takes; every other step has a limit.
        patience = None if step.startswith(WAITS_FOR_UV) else UP_SECONDS + longest
        patience = patience if step else START_SECONDS
        try:
            async with asyncio.timeout(patience):
                line = await process.stdout.readline()
        except TimeoutError:
            where = step or "before its first step"
            return {"error": f"it stood still for {patience:g} s, {where}: something holds its loop"}
        except ValueError:
            return {"error": f"its answer is longer than {LONGEST_LINE:,} bytes; fire fewer events"}
        if not line:
            await process.wait()
            return None
        message: dict[str, Any] = json.loads(line)
        if "result" in message:
            result: dict[str, Any] = message["result"]
            return result
        step = message["step"]
        if step.startswith(WAITS_FOR_SCENE):
            given = await scene
            longest = max(given.limits, default=0.0)
            with contextlib.suppress(ConnectionError):  # then its output has ended, too
                process.stdin.write(msgspec.json.encode(given) + b"\n")
                await process.stdin.drain()
        else:
            on_progress(step, message["done"], message["total"])


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the harness in order, so that it ends its workers; at once if it does not."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        await end_at_once(process)  # the guard of its workers ends them
    except asyncio.CancelledError:
        await end_at_once(process)
        raise


async def _environment(directory: Path, manifest: CapabilityManifest) -> dict[str, str]:
    """Return a clean environment: a new HOME, a PATH with what the manifest names, and little else."""
    home, bin_ = directory / "home", directory / "bin"
    for made in (home, bin_):
        made.mkdir()
    _fill_bin(bin_, manifest)
    texts = [text for w in manifest.workers.values() for text in (w.command or "", *w.args, *w.env.values())]
    referred = {name for text in texts for name in _REFERENCE.findall(text)}
    kept = {k: v for k, v in os.environ.items() if _KEPT.fullmatch(k) or k in referred}
    directories: Mapping[str, tuple[str, str]] = {
        "UV_CACHE_DIR": ("cache", "dir"),
        "UV_PYTHON_INSTALL_DIR": ("python", "dir"),
    }
    found = await asyncio.gather(*(ask_uv(*words) for words in directories.values()))
    for variable, directory_of_uv in zip(directories, found, strict=True):
        kept.setdefault(variable, directory_of_uv)
    configuration = Path.home() / ".config" / "uv" / "uv.toml"
    if configuration.is_file():  # it may name an index
        kept.setdefault("UV_CONFIG_FILE", str(configuration))
    kept.setdefault("UV_PYTHON", str(getattr(sys, "_base_executable", sys.executable)))
    return kept | {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(bin_), os.defpath]),
        "DNWORKER_JOURNAL": "off",
    }


def _fill_bin(directory: Path, manifest: CapabilityManifest) -> None:
    """Make the directory of programs: Python, uv, and the commands of workers."""
    programs = {"python": sys.executable, "python3": sys.executable, "uv": UV}
    for command in [worker.command or "" for worker in manifest.workers.values()]:
        found = shutil.which(command) if "/" not in command else None
        if found is not None:
            programs.setdefault(command, str(Path(found).absolute()))
    for name, program in programs.items():
        # No links: a program may look for its files beside the link, as Python does.
        (directory / name).write_text(f'#!/bin/sh\nexec {shlex.quote(program)} "$@"\n')
        (directory / name).chmod(0o755)
