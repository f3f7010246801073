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
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dnworker.core.handlers import HandlerKey
from dnworker.workers.subprocess_runner import end_at_once
from dnworker_jupyter.export.proof.child import IMPORT_SECONDS, keyed
from dnworker_jupyter.export.proof.compare import NOTHING, Aspect, Comparison, Unequal
from dnworker_jupyter.export.proof.describe import SECONDS, describe
from dnworker_jupyter.export.proof.nodes import Description
from dnworker_jupyter.export.proof.planned import Planned, aliases, groups_of, planned_of

Category = Literal["file-read", "file-write", "network", "process", "time", "memory", "input", "error"]

MEMORY = 4 * 2**30
"""Bytes by which the child may grow."""
START_SECONDS = 3.0
"""Seconds for the child to start and to end, beyond its time limit."""
LONGEST_OUTPUT = 4096
"""Bytes at the end of an output that are read."""
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
        timeout: seconds for all scripts together, without those in which they import packages.
        shared: names of the modules beside the scripts that have code of the notebook.
        environ: the environment; that of this process by default.
        fork: whether scripts may be forked from one process, which imports once what several need.

    Raises:
        OSError: the temporary directory cannot be written, or the child cannot be started.
    """
    planned = [planned_of(files, script.path, shared) for script in scripts]
    here = _describe(scripts, planned, live, handlers, shared)
    request = _request(files, scripts, planned, shared)
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="dnworker-proof-"))
    try:
        root, answers = directory / "capability", directory / "answers"
        await asyncio.to_thread(_write, root, files)
        answers.mkdir()
        places = {"root": str(root), "answers": str(answers)}
        await _run(request | places, answers, cwd, environ, timeout, fork=fork)
        found = await asyncio.to_thread(lambda: [_answer(answers, number) for number in range(len(scripts))])
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return _proof(scripts, here, found, root)


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
        "groups": groups_of(planned, beside),
        "shared": sorted(shared),
        "aliases": aliases(everything),
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


async def _run(
    request: dict[str, Any],
    answers: Path,
    cwd: Path,
    environ: Mapping[str, str] | None,
    timeout: float,
    *,
    fork: bool,
) -> None:
    """Let the child execute the scripts; every process has ended when it returns."""
    if fork:
        await _ask(request | {"fork": True, "seconds": timeout}, answers, cwd, environ)
        return
    end = time.monotonic() + timeout
    for group in request["groups"]:
        for number in group["scripts"]:
            left = end - time.monotonic()
            if left > 0:
                alone = {"fork": False, "seconds": left, "groups": [group | {"scripts": [number]}]}
                code = await _ask(request | alone, answers, cwd, environ)
                (answers / f"{number}.code").write_text(str(code))


async def _ask(
    request: dict[str, Any], answers: Path, cwd: Path, environ: Mapping[str, str] | None
) -> int | None:
    """Start a child for a request, and return its exit code when it has ended."""
    with (answers / "errors").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", *_flags(), str(_CHILD),
            cwd=cwd, env=environ, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
    try:
        assert process.stdin is not None, "it is a pipe"
        # It stays open: when it ends, this process is gone, and the child ends everything. A script that has
        # left no answer is reported, whatever the reason.
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(request["seconds"] + IMPORT_SECONDS + START_SECONDS):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                await process.stdin.drain()
                await process.wait()
    finally:
        await end_at_once(process)
    return process.returncode


def _answer(answers: Path, number: int) -> dict[str, Any]:
    """Return what a script has left: its answer, or how its process ended."""
    try:
        found: dict[str, Any] = json.loads((answers / f"{number}.json").read_bytes())
    except (OSError, ValueError):
        code = _text(answers / f"{number}.code")
        return {
            "ended": int(code) if code else None,
            "trace": _text(answers / f"{number}.trace"),
            "output": _text(answers / f"{number}.out"),
            "errors": _text(answers / "errors"),
        }
    return found


def _text(file: Path) -> str:
    try:
        return file.read_bytes()[-LONGEST_OUTPUT:].decode(errors="replace")
    except OSError:
        return ""


def _flags() -> list[str]:
    """Return the options by which code is compiled and text is read as in this process."""
    utf8 = ["-X", "utf8"] if sys.flags.utf8_mode else []
    return [*["-O"] * sys.flags.optimize, *utf8]


def _proof(
    scripts: Sequence[Script], here: Sequence[Description], answers: Sequence[dict[str, Any]], root: Path
) -> Proof:
    differences: list[Difference] = []
    failures: list[Failure] = []
    uncompared: list[tuple[str, str, str]] = []
    for script, mine, answer in zip(scripts, here, answers, strict=True):
        if "ended" in answer:
            failures.append(_ended(script, answer, root))
        elif answer["failures"]:
            failures += [Failure(script.worker, **_with_path(one, script)) for one in answer["failures"]]
        else:
            there = Description.from_plain(answer["description"])
            _compare(script, mine, there, differences, uncompared)
    return Proof(tuple(differences), tuple(dict.fromkeys(failures)), tuple(dict.fromkeys(uncompared)))


def _with_path(failure: dict[str, Any], script: Script) -> dict[str, Any]:
    return failure | {"path": failure["path"] or script.path}


def _ended(script: Script, answer: dict[str, Any], root: Path) -> Failure:
    """Return the failure of a script whose process has ended without an answer."""
    path, line = _place(answer["trace"], root) or (script.path, None)
    code, output = answer["ended"], answer["output"]
    category: Category = "error"
    if "Timeout (" in answer["trace"] or code == -9:
        category, detail = "time", "it does not end in time"
    elif code is None and "Timeout (" in answer["errors"]:
        category, detail = "time", "what it imports does not end in time"
    elif code is None and answer["errors"]:
        detail, output = "the child cannot run", answer["errors"]
    elif code is None:
        category, detail = "time", "the time was over before it could run"
    elif code == 0:
        detail = "its process ended without an answer"
    else:
        detail = (
            f"its process was ended by signal {-code}" if code < 0 else f"its process ended with code {code}"
        )
    last = output.strip().splitlines()[-1:] if category == "error" else []
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
