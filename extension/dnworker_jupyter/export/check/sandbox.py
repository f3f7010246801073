"""Runs the trial of an export as a stranger would: in an environment that has nothing of the user's."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.manifest import CapabilityManifest
from dnworker.workers.subprocess_runner import end_at_once
from dnworker_jupyter.export.check.harness import UP_SECONDS, WAITS_FOR_UV, Asked
from dnworker_jupyter.export.disk.uv import UV, ask_uv
from dnworker_jupyter.export.planning.types import OnProgress

END_SECONDS = 10.0
"""Seconds in which a trial that is over, or not wanted any more, may end in order."""

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes of an answer: events are up to 1 MB each."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")
_KEPT = re.compile(
    r"LC_\w+|LANG|TZ|TERM|TMPDIR|SSL_CERT_\w+|(?:https?|no|all)_proxy|SYSTEMROOT|UV_(?:\w*INDEX\w*|FIND_LINKS"
    r"|CACHE_DIR|CONFIG_FILE|PYTHON\w*|OFFLINE|NATIVE_TLS|SYSTEM_CERTS|HTTP_TIMEOUT|INSECURE_HOST"
    r"|KEYRING_PROVIDER|CONCURRENT_\w+)",
    re.IGNORECASE,
)
"""Variables that an environment has wherever it is; all others are the user's own, and left out.

What uv needs to fetch distributions is taken away again before workers start: an index may have a password.
"""


async def run_trial(
    asked: Asked, manifest: CapabilityManifest, place: Path, on_progress: OnProgress
) -> dict[str, Any]:
    """Have an export tried out, and return what is told of it; the process is ended whatever comes.

    Args:
        asked: what is tried.
        manifest: of the export, whose commands and variables its workers may have.
        place: a directory of this trial.
        on_progress: called with what is waited for.
    """
    environment = await _environment(place, manifest)
    errors = place / "trial.log"
    with errors.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dnworker_jupyter.export.check.harness",
            env=environment, cwd=asked.root, start_new_session=True, limit=LONGEST_LINE,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            process.stdin.write(
                msgspec.json.encode(asked) + b"\n"
            )  # it stays open: at its end the trial ends
            await process.stdin.drain()
            result = await _listen(process, asked, on_progress)
        finally:
            await _end(process)
    if result is not None:
        return result
    said = errors.read_text(errors="replace").strip().splitlines()[-10:]
    return {"error": "\n".join([f"its runtime ended with code {process.returncode}", *said])}


async def _listen(
    process: asyncio.subprocess.Process, asked: Asked, on_progress: OnProgress
) -> dict[str, Any] | None:
    """Return the result; None when the process ends without one."""
    assert process.stdout is not None
    step = ""
    while True:
        # uv may download for as long as it takes; all else has its limit, and says when that is over.
        patience = None if step.startswith(WAITS_FOR_UV) else UP_SECONDS + asked.timeout
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
        told = json.loads(line)
        if "result" in told:
            result: dict[str, Any] = told["result"]
            return result
        step = told["step"]
        on_progress(step, told["done"], told["total"])


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the trial: in order, with its workers, and if it will not, at once."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        await end_at_once(process)  # its guard ends the workers
    except asyncio.CancelledError:
        await end_at_once(process)
        raise


async def _environment(place: Path, manifest: CapabilityManifest) -> dict[str, str]:
    """Return the environment of the trial: a new HOME, a PATH of what the manifest names, little else."""
    home, bin_ = place / "home", place / "bin"
    for made in (home, bin_):
        made.mkdir()
    programs = {"python": sys.executable, "python3": sys.executable, "uv": UV}
    referred: set[str] = set()
    for worker in manifest.workers.values():
        command = worker.command or ""
        found = shutil.which(command) if "/" not in command else None
        if found is not None:
            programs.setdefault(command, str(Path(found).absolute()))
        texts = [command, *worker.args, *worker.env.values()]
        referred |= {name for text in texts for name in _REFERENCE.findall(text)}
    for name, program in programs.items():
        # Not links: a program may look for what is its own where the link is, as Python does.
        (bin_ / name).write_text(f'#!/bin/sh\nexec {shlex.quote(program)} "$@"\n')
        (bin_ / name).chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if _KEPT.fullmatch(k) or k in referred}
    directories: Mapping[str, tuple[str, str]] = {
        "UV_CACHE_DIR": ("cache", "dir"),
        "UV_PYTHON_INSTALL_DIR": ("python", "dir"),
    }
    for variable, words in directories.items():
        kept.setdefault(variable, await ask_uv(*words))
    configuration = Path.home() / ".config" / "uv" / "uv.toml"
    if configuration.is_file():  # which index there is, for one
        kept.setdefault("UV_CONFIG_FILE", str(configuration))
    kept.setdefault("UV_PYTHON", str(getattr(sys, "_base_executable", sys.executable)))
    return kept | {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(bin_), os.defpath]),
        "DNWORKER_JOURNAL": "off",
    }
