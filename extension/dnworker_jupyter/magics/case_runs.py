"""`CaseRuns`: makes tests of recorded events, and runs them apart on the present workers; for `Door`."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dnworker.core.errors import Conflict, NotFound, UsageError
from dnworker.core.text import clip
from dnworker.engine.door import TooLate
from dnworker.events.cases import as_module, as_test_cell, case_of, cases_of
from dnworker.events.trace import Trace
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.live_export import export_worker

OUTPUT_KEPT = 100_000
"""Characters of what pytest prints that are answered, the last ones."""

READ_AT_ONCE = 65_536

_NAME = re.compile(r"[^a-z0-9_]+")


class CaseRuns:
    """Makes and runs tests.

    Args:
        context: the notebook's parts.
    """

    def __init__(self, context: MagicContext) -> None:
        self._context = context

    def make(self, trace: Trace, name: str | None, worker: str | None) -> dict[str, Any]:
        """Return the pytest module that keeps what a worker did with an event, and the cell that does.

        Raises:
            NotFound: no worker of cells took the event.
            Conflict: several did.
        """
        took = list(dict.fromkeys(run.worker.rpartition(":")[2] for run in trace.invocations))
        took = [one for one in took if one in self._context.live]
        if worker is not None:
            took = [one for one in took if one == worker.rpartition(":")[2]]
        seq = trace.event.seq
        if not took:
            whose = "no worker of cells" if worker is None else f"worker {worker!r} not"
            raise NotFound(
                f"{whose} took #{seq}, so there is nothing to test; fire it again first"
                if worker is None
                else f"worker {worker!r} did nothing with #{seq}; fire it again first",
                code="DN117",
            )
        if len(took) > 1:
            raise Conflict(f"{', '.join(took)} took #{seq}; choose one with worker", code="DN117")
        case = case_of(trace, took[0])
        stem = _NAME.sub("_", (name or f"{took[0]}_{trace.event.kind}").lower()).strip("_") or "case"
        return {
            "name": stem,
            "worker": took[0],
            "source": as_module([case], took[0], f"workers/{took[0]}.py"),
            "file": f"tests/test_{stem.removeprefix('test_')}.py",
            "cell": as_test_cell(case, took[0]),
        }

    def is_made_here(self, source: str) -> bool:
        """Return whether a test only fires events, as those of `make` do: it runs no code of an agent."""
        return cases_of(source) is not None

    async def run(self, source: str, *, timeout: float) -> dict[str, Any]:
        """Run a pytest module in a process of its own, beside an export of the workers that it names.

        Raises:
            UsageError: pytest is not installed here, or there is no room.
            NotExportable: a worker that it tests cannot leave the kernel.
            TooLate: it does not end.
        """
        for package in ("pytest", "pytest_asyncio"):
            if importlib.util.find_spec(package) is None:
                raise UsageError(
                    f"tests need {package}; install it with: %pip install pytest pytest-asyncio", code="DN902"
                )
        files = self._files(source)
        try:
            with tempfile.TemporaryDirectory(prefix="dnworker-test-") as place:
                test = _write(Path(place), files, source)
                return await _pytest(Path(place), test, timeout)
        except OSError as exc:
            raise UsageError(f"there is no room for a test: {exc.strerror or exc}", code="DN505") from exc

    def _files(self, source: str) -> Mapping[str, bytes]:
        """Return the files of an export of the workers that a test can load: those that it names."""
        live = self._context.live
        found: dict[str, bytes] = {}
        for name in live.names():
            if re.search(rf"['\"/]{re.escape(name)}(\.py)?['\"]", source) is None:
                continue
            files, script = export_worker(self._context.cells, live, name, "python")
            found |= files
            found[f"workers/{name}.py"] = files[script]
        return found


def _write(place: Path, files: Mapping[str, bytes], source: str) -> Path:
    for name, data in files.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    test = place / "tests" / "test_agent.py"
    test.parent.mkdir(exist_ok=True)
    test.write_text(source, encoding="utf-8")
    return test


async def _pytest(place: Path, test: Path, timeout: float) -> dict[str, Any]:
    """Run pytest; its process, and those that it starts, are ended when the time is up."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", str(test)]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=place,
        env=_environment(place),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    output = bytearray()
    try:
        async with asyncio.timeout(timeout):
            assert process.stdout is not None
            while chunk := await process.stdout.read(READ_AT_ONCE):
                output += chunk
                del output[: -4 * OUTPUT_KEPT]
            status = await process.wait()
    except TimeoutError:
        raise TooLate(f"the test did not end within {timeout:g} s, and was ended") from None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    text = output.decode("utf-8", "replace")
    return {"passed": status == 0, "status": status, "output": clip(text[-OUTPUT_KEPT:], OUTPUT_KEPT)}


def _environment(place: Path) -> dict[str, str]:
    """Return the environment of a test: without what leads to this runtime, or holds its token."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("DREADNODE_", "DNWORKER_"))
    }
    paths = [str(place), *filter(None, sys.path)]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
