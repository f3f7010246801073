"""`prove`: executes planned scripts apart from the kernel and compares what their names are; used by export.

Nothing is written but a temporary directory, which is gone when `prove` returns or is cancelled, as is every
process that it has started.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dnworker.core.handlers import HandlerKey
from dnworker.workers.subprocess_runner import end_at_once
from dnworker_jupyter.export.proof.child import GRACE, LONGEST_RESULT, keyed
from dnworker_jupyter.export.proof.compare import NOTHING, Aspect, Comparison, Unequal
from dnworker_jupyter.export.proof.describe import SECONDS, describe
from dnworker_jupyter.export.proof.nodes import Description
from dnworker_jupyter.export.proof.planned import Planned, planned_of

Category = Literal["file-read", "file-write", "network", "process", "time", "memory", "input", "error"]

MEMORY = 4 * 2**30
"""Bytes by which the child may grow."""
START_SECONDS = 3.0
"""Seconds for the child to start and to end, beyond its time limit."""
MOST_UNCOMPARED = 3
"""Reasons of one name that are returned."""

_CHILD = Path(__file__).with_name("child.py")
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True)
class Script:
    """One planned script of a worker."""

    worker: str
    path: str
    """In the capability, such as `workers/bridge.py`."""
    names: tuple[str, ...]
    """The globals to compare."""


@dataclass(frozen=True)
class Difference:
    """A name whose value is another one in the script than in the kernel."""

    worker: str
    name: str
    """A global's name, or `handler NAME`."""
    where: str
    """The place within the value, such as `["rates"][2]`; empty for the whole."""
    here: str
    """The value in the kernel, shortened; not that of a name that looks like a secret's."""
    there: str
    """The value in the script, likewise."""
    aspect: Aspect = "value"
    """`annotations` where one side has them as texts, as `from __future__ import annotations` makes them;
    `subclasses` where the kernel has other subclasses of a class than the script."""


@dataclass(frozen=True)
class Failure:
    """A script does not run, or does what it may not do."""

    worker: str
    path: str
    """The planned file in which it happens: the script, or a module beside it."""
    line: int | None
    category: Category
    detail: str


@dataclass(frozen=True)
class Proof:
    """What was found; an export is proved when there are neither differences nor failures."""

    differences: tuple[Difference, ...] = ()
    failures: tuple[Failure, ...] = ()
    uncompared: tuple[tuple[str, str, str], ...] = ()
    """Worker, name and the reason: values that no other process can have, and those beyond the bounds."""


async def prove(
    files: Mapping[str, bytes],
    scripts: Sequence[Script],
    live: Mapping[str, Any],
    handlers: Mapping[str, Sequence[tuple[HandlerKey, Any]]],
    *,
    cwd: Path,
    timeout: float = 10.0,
    shared: Collection[str] = (),
    environ: Mapping[str, str] | None = None,
    fork: bool = hasattr(os, "fork"),
) -> Proof:
    """Execute the scripts in a child process, and compare their names and handlers with the kernel's.

    The values of the kernel are described at once, in about a second at most; nothing else holds the loop.

    Args:
        files: of the capability, by path.
        scripts: what is executed, without the `if __name__ == "__main__":` at the end.
        live: the kernel's namespace.
        handlers: of each worker in the kernel, by their keys.
        cwd: the notebook's directory.
        timeout: seconds for all scripts together.
        shared: names of the modules beside the scripts that have code of the notebook.
        environ: the environment; that of this process by default.
        fork: whether scripts may be forked from one process, which imports once what several need.

    Raises:
        OSError: the temporary directory cannot be written, or the child cannot be started.
    """
    planned = [planned_of(files, script.path, shared) for script in scripts]
    here = _describe(scripts, planned, live, handlers, shared)
    request = _request(files, scripts, planned, shared)
    answers: dict[int, dict[str, Any]] = {}
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="dnworker-proof-"))
    try:
        root = directory / "capability"
        await asyncio.to_thread(_write, root, files)
        run = _Run(request | {"root": str(root), "fork": fork}, directory, cwd, environ)
        async for answer in run.answers(timeout):
            answers[answer["script"]] = answer
        lost = run.why_nothing()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return _proof(scripts, here, answers, lost, root)


def _describe(
    scripts: Sequence[Script],
    planned: Sequence[Planned],
    live: Mapping[str, Any],
    handlers: Mapping[str, Sequence[tuple[HandlerKey, Any]]],
    shared: Collection[str],
) -> list[Description]:
    """Describe the kernel's values, those of one script after the other."""
    end = time.monotonic() + SECONDS
    found = []
    for number, (script, plan) in enumerate(zip(scripts, planned, strict=True)):
        seconds = max(0.02, (end - time.monotonic()) / (len(scripts) - number))
        also = keyed(handlers.get(script.worker, ()))
        own = ["__main__", *shared]
        found.append(describe(live, script.names, own, imported=plan.imported, also=also, seconds=seconds))
    return found


def _request(
    files: Mapping[str, bytes], scripts: Sequence[Script], planned: Sequence[Planned], shared: Collection[str]
) -> dict[str, Any]:
    beside = {path.split("/")[1].removesuffix(".py") for path in files if path.startswith("workers/")}
    asked = [
        {"path": script.path, "names": script.names, "imported": plan.imported}
        for script, plan in zip(scripts, planned, strict=True)
    ]
    everything = [*planned, *(planned_of(files, f"workers/{name}.py") for name in shared)]
    return {
        "scripts": asked,
        "shared": sorted(shared),
        "preload": Planned.in_several(everything, beside),
        "aliases": Planned.aliases(everything),
        # Not the notebook's directory: what is found there alone, the capability does not have.
        "path": [entry for entry in sys.path if entry not in ("", ".")],
        "memory": MEMORY,
    }


def _write(root: Path, files: Mapping[str, bytes]) -> None:
    """Write the capability's files, but no wheels: nothing imports them."""
    for path, data in files.items():
        if not path.endswith(".whl"):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


class _Run:
    """The child's processes for one proof."""

    def __init__(
        self, request: dict[str, Any], directory: Path, cwd: Path, environ: Mapping[str, str] | None
    ) -> None:
        self._request = request
        self._errors = directory / "errors"
        self._cwd = cwd
        self._environ = environ
        self._codes: list[int | None] = []

    async def answers(self, timeout: float) -> AsyncIterator[dict[str, Any]]:
        """Yield what the scripts answer, as it comes; every process has ended when it returns."""
        if self._request["fork"]:
            async for answer in self._ask(self._request | {"seconds": timeout}):
                yield answer
            return
        end = time.monotonic() + timeout
        for number, script in enumerate(self._request["scripts"]):
            left = end - time.monotonic()
            if left <= 0:
                return
            async for answer in self._ask(self._request | {"scripts": [script], "seconds": left}):
                yield answer | {"script": number}

    async def _ask(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        with self._errors.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", *_flags(), str(_CHILD),
                cwd=self._cwd, env=self._environ, start_new_session=True, limit=LONGEST_RESULT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        try:
            assert process.stdin is not None and process.stdout is not None, "they are pipes"  # noqa: PT018
            process.stdin.write(json.dumps(request).encode())
            process.stdin.close()
            async with asyncio.timeout(request["seconds"] + GRACE + START_SECONDS):
                while line := await process.stdout.readline():
                    yield json.loads(line)
        except (TimeoutError, ValueError):
            return  # a script that has no answer is reported
        finally:
            await end_at_once(process)
            self._codes.append(process.returncode)

    def why_nothing(self) -> dict[str, Any]:
        """Return what is known when a script has no answer."""
        text = self._errors.read_text(errors="replace") if self._errors.exists() else ""
        return {"code": next((c for c in self._codes if c), None), "trace": text, "output": text}


def _flags() -> list[str]:
    """Return the options by which code is compiled and text is read as in this process."""
    utf8 = ["-X", "utf8"] if sys.flags.utf8_mode else []
    return [*["-O"] * sys.flags.optimize, *utf8]


def _proof(
    scripts: Sequence[Script],
    here: Sequence[Description],
    answers: Mapping[int, dict[str, Any]],
    lost: dict[str, Any],
    root: Path,
) -> Proof:
    differences: list[Difference] = []
    failures: list[Failure] = []
    uncompared: list[tuple[str, str, str]] = []
    for number, script in enumerate(scripts):
        answer = answers.get(number, {"ended": lost})
        if "ended" in answer:
            failures.append(_ended(script, answer["ended"], root))
        elif answer["failures"]:
            failures += [Failure(script.worker, **_with_path(one, script)) for one in answer["failures"]]
        else:
            there = Description.from_plain(answer["description"])
            _compare(script, here[number], there, differences, uncompared)
    return Proof(tuple(differences), tuple(dict.fromkeys(failures)), tuple(dict.fromkeys(uncompared)))


def _with_path(failure: dict[str, Any], script: Script) -> dict[str, Any]:
    return failure | {"path": failure["path"] or script.path}


def _ended(script: Script, ended: dict[str, Any], root: Path) -> Failure:
    """Return the failure of a script whose process has ended without an answer."""
    path, line = _place(ended["trace"], root) or (script.path, None)
    code = ended["code"]
    category: Category = "error"
    if code is None:
        category, detail = "time", "the time was over before it could run"
    elif "Timeout (" in ended["trace"] or code == -9:
        category, detail = "time", "it does not end in time"
    elif code == 0:
        detail = "its process ended without an answer"
    elif code < 0:
        detail = f"its process was ended by signal {-code}"
    else:
        detail = f"its process ended with code {code}"
    last = ended["output"].strip().splitlines()[-1:] if category == "error" else []
    return Failure(script.worker, path, line, category, ": ".join([detail, *last])[:300])


def _place(trace: str, root: Path) -> tuple[str, int] | None:
    """Return the innermost planned file in a dump of `faulthandler`, whose last call comes first."""
    inside = str(root.resolve()) + os.sep
    for file, line in _FRAME.findall(trace):
        if file.startswith(inside):
            return file.removeprefix(inside).replace(os.sep, "/"), int(line)
    return None


def _compare(
    script: Script,
    here: Description,
    there: Description,
    differences: list[Difference],
    uncompared: list[tuple[str, str, str]],
) -> None:
    """Note where the names and handlers of one script differ."""
    comparison = Comparison(here, there)
    for name in dict.fromkeys([*here.names, *there.names]):
        shown, prefix = name, ""
        if name not in script.names:
            decorator, trigger, function, _ = json.loads(name)
            shown, prefix = f"handler {function}", f"{decorator} {trigger}".strip()
        reasons: list[str] = []
        for found in comparison.of(name):
            if isinstance(found, Unequal):
                mine, theirs = (
                    f"{prefix}: {text}" if prefix and not found.where and text != NOTHING else text
                    for text in (found.here, found.there)
                )
                differences.append(Difference(script.worker, shown, found.where, mine, theirs, found.aspect))
            else:
                reasons.append(f"{found.where}: {found.why}" if found.where else found.why)
        uncompared += [(script.worker, shown, reason) for reason in reasons[:MOST_UNCOMPARED]]
