"""`ExecutedExport`: runs a notebook in a fresh kernel, and exports from there; for the command line."""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from dnworker.core.errors import UsageError
from dnworker.core.parsing import parse
from dnworker.core.topology import Topology
from dnworker_jupyter.export.answers import PROGRESS, request_code
from dnworker_jupyter.export.fresh_kernel import (
    START_LIMIT,
    FreshKernel,
    KernelDied,
    KernelReply,
    TooLong,
    has_kernel,
)
from dnworker_jupyter.export.planning.types import OnProgress, TargetName
from dnworker_jupyter.export.slicing.cells import read_notebook

NOT_EXECUTED = "nothing ran, so values are not proved; --execute runs the notebook first, and proves them"

CELL_LIMIT = 600.0
"""Seconds that a cell may take, where no option says otherwise."""

TOTAL_LIMIT = 3600.0
"""Seconds that all cells and the export may take together."""

_LOAD = "%load_ext dnworker\n__import__('dnworker_jupyter').runtime()"
"""Loads the extension, and raises if it is not loaded then."""

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LONGEST_ERROR = 2_000
_NO_INPUT = "StdinNotImplementedError"


class NotExecuted(UsageError):
    """A cell of the notebook failed, so that nothing was exported."""

    code = "DN511"

    def __init__(
        self, text: str, cell: _Cell | None = None, line: int | None = None, *, code: str | None = None
    ) -> None:
        self._error = text
        self._cell = cell
        self._line = line
        place = (
            ""
            if cell is None
            else f"cell [{cell.number}]" + ("" if line is None else f", line {line}") + ": "
        )
        super().__init__(f"{place}{text}; nothing was written", code=code)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        number, cell_id = (None, None) if self._cell is None else (self._cell.number, self._cell.id)
        return {"error": str(self), "cell": number, "cell_id": cell_id, "line": self._line}


class ExecutedFailure(UsageError):
    """The export failed in the kernel, with the text that it has there."""

    code = "DN501"

    def __init__(self, text: str, data: dict[str, Any]) -> None:
        self._data = data
        super().__init__(text, code=data.get("code"))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return self._data


@dataclass(frozen=True)
class Executed:
    """What an export of an executed notebook says: its summary, and the same as JSON data."""

    text: str
    data: dict[str, Any]


@dataclass(frozen=True)
class _Cell:
    """A code cell of the file, by the number that it has when all of them run in order."""

    number: int
    source: str
    id: str | None
    may_fail: bool


class ExecutedExport:
    """An export of an `.ipynb` file from a kernel that runs all of its cells first.

    Args:
        file: the notebook.
        directory: the capability's.
        target: what the scripts import.
        topology: how the manifest runs them.
        cell_limit: seconds that each cell may take.
        total_limit: seconds that all of it may take.

    Raises:
        UsageError: the file is no notebook.
    """

    def __init__(
        self,
        file: Path,
        directory: Path,
        *,
        target: TargetName,
        topology: Topology,
        cell_limit: float = CELL_LIMIT,
        total_limit: float = TOTAL_LIMIT,
    ) -> None:
        read_notebook(file)  # raises what is wrong with it
        self._file = file.resolve()
        self._notebook: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        self._cells = list(_cells(self._notebook))
        self._request = {"directory": str(directory.absolute()), "target": target, "topology": topology}
        self._cell_limit = cell_limit
        self._total_limit = total_limit
        self.notes: list[str] = []

    async def run(
        self,
        on_progress: OnProgress,
        *,
        diff: bool = False,
        force: bool = False,
        lock: bool = False,
        checked: bool = False,
        events: Path | None = None,
        sdk: str | None = None,
    ) -> Executed:
        """Run the notebook, and export it as `%capability export` in its last cell would.

        The file does not change. The kernel is ended in any case, with all that it started.

        Args:
            on_progress: called with each step.
            diff: only compare, as `%capability diff`.
            force: write over files that were edited by hand.
            lock: have uv lock the scripts that run under it.
            checked: write nothing unless the check passes; `events` and `sdk` as there.
            events: a file of events that a check fires; None for recorded ones.
            sdk: an interpreter that has the reference's SDK, for a check.

        Raises:
            NotExecuted: a cell raised, took too long, or ended the kernel.
            ExecutedFailure: the export is refused, or failed.
            UsageError: there is no kernel, or it has no dnworker.
        """
        options = {
            "diff": diff, "force": force, "lock": lock, "check": checked,
            "events": None if events is None else str(events.absolute()),
            "sdk": None if sdk is None else str(Path(sdk).absolute()),
        }  # fmt: skip
        deadline = time.monotonic() + self._total_limit
        on_progress("starting a kernel", 0, len(self._cells) + 1)
        async with FreshKernel.start(self._file, self._kernel_name()) as kernel:
            await self._load(kernel)
            for done, cell in enumerate(self._cells):
                on_progress(f"running cell [{cell.number}]", done, len(self._cells) + 1)
                await self._run(kernel, cell, deadline)
            on_progress("exporting", len(self._cells), len(self._cells) + 1)
            return await self._export(kernel, options, deadline, on_progress)

    def _kernel_name(self) -> str | None:
        """Return the name of the notebook's kernel; None for this interpreter's.

        Raises:
            UsageError: the notebook is not of Python.
        """
        metadata = self._notebook.get("metadata")
        spec = metadata.get("kernelspec") if isinstance(metadata, dict) else None
        spec = spec if isinstance(spec, dict) else {}
        name, language = spec.get("name"), str(spec.get("language") or "python")
        if language.lower() != "python":
            raise UsageError(
                f"{self._file.name} is a notebook of {language}, and workers are of Python", code="DN510"
            )
        if not isinstance(name, str) or name in ("", "python3"):
            return None
        if not has_kernel(name):
            self.notes.append(
                f"the notebook's kernel {name!r} is not installed here: this interpreter ran it"
            )
            return None
        return name

    async def _load(self, kernel: FreshKernel) -> None:
        """Load the extension first, if no cell does.

        Raises:
            UsageError: the kernel has none.
        """
        if any(loads_extension(cell.source) for cell in self._cells):
            return
        try:
            reply = await kernel.run(_LOAD, START_LIMIT, is_cell=False)
        except (TooLong, KernelDied) as exc:
            raise NotExecuted(
                f"the kernel {kernel.python} cannot load dnworker: {exc}", code="DN512"
            ) from exc
        if not reply.ok:
            raise UsageError(
                f"the kernel {kernel.python} cannot load dnworker: {_error(reply)}; install it there with: "
                "pip install 'dnworker[jupyter]'",
                code="DN512",
            )

    async def _run(self, kernel: FreshKernel, cell: _Cell, deadline: float) -> None:
        """Run a cell.

        Raises:
            NotExecuted: it raises, or does not end.
        """
        left = deadline - time.monotonic()
        limit = min(self._cell_limit, left)
        is_total = left <= self._cell_limit
        try:
            reply = await kernel.run(cell.source, limit, cell_id=cell.id)
        except TooLong as exc:
            whole, option = (
                (self._total_limit, "--timeout") if is_total else (self._cell_limit, "--cell-timeout")
            )
            what = "the notebook did" if is_total else "it did"
            line = None if exc.reply is None else _line(exc.reply, cell)
            more = "" if exc.reply is not None else ", and an interrupt does not end it"
            raise NotExecuted(
                f"{what} not end within {whole:g} s ({option}){more}", cell, line, code="DN513"
            ) from exc
        except KernelDied as exc:
            raise NotExecuted(str(exc), cell) from exc
        if not (reply.ok or cell.may_fail):
            text = (
                "asks for input, and here is nobody to give it" if reply.name == _NO_INPUT else _error(reply)
            )
            raise NotExecuted(text, cell, _line(reply, cell))
        if reply.ends_kernel:
            raise NotExecuted("ends the kernel, as exit() does, before it could export", cell)

    async def _export(
        self, kernel: FreshKernel, options: Mapping[str, object], deadline: float, on_progress: OnProgress
    ) -> Executed:
        """Let the kernel export itself.

        Raises:
            NotExecuted: the kernel ended, or it took too long.
            ExecutedFailure: the export is refused, or failed.
        """

        def show(data: Mapping[str, Any]) -> None:
            step = data.get(PROGRESS)
            if isinstance(step, dict):
                on_progress(str(step["text"]), int(step["done"]), int(step["total"]))

        file = kernel.file("answer.json")
        code = request_code({**self._request, **options, "answer": str(file)})
        try:
            left = max(1.0, deadline - time.monotonic())
            reply = await kernel.run(code, left, is_cell=False, on_display=show)
        except TooLong as exc:
            raise NotExecuted(
                f"the export did not end within {self._total_limit:g} s (--timeout)", code="DN513"
            ) from exc
        except KernelDied as exc:
            raise NotExecuted(f"{exc}, before it could export") from exc
        if not reply.ok:
            raise NotExecuted(f"the kernel {kernel.python} cannot export: {_error(reply)}")
        answer = json.loads(file.read_text(encoding="utf-8"))
        if not answer["ok"]:
            raise ExecutedFailure(answer["text"], answer["data"])
        text = "\n".join([answer["text"], *self.notes])
        return Executed(text, answer["data"] | ({"notes": self.notes} if self.notes else {}))


def _cells(notebook: Mapping[str, Any]) -> Iterator[_Cell]:
    number = 0
    for cell in notebook["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        text = "".join(source) if isinstance(source, list) else str(source)
        metadata = cell.get("metadata")
        tags = metadata.get("tags") if isinstance(metadata, dict) else None
        tags = tags if isinstance(tags, list) else []
        if text.strip() and "skip-execution" not in tags:
            number += 1  # as the kernel counts
            found = cell.get("id")
            identity = found if isinstance(found, str) else None
            yield _Cell(number, text, identity, "raises-exception" in tags)


def loads_extension(source: str) -> bool:
    """Return whether a cell loads dnworker's extension."""
    if "dnworker" not in source:
        return False
    try:
        tree = parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError):
        return False
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="run_line_magic"),
                args=[ast.Constant(value="load_ext" | "reload_ext"), ast.Constant(value=str() as line)],
            ) if "dnworker" in line.split():
                return True
            case ast.Call(func=ast.Attribute(attr="load_extension"), args=[ast.Constant(value="dnworker")]):
                return True
    return False


def _error(reply: KernelReply) -> str:
    text = _ANSI.sub("", reply.text).strip()
    shown = text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]} ..."
    return f"{reply.name}: {shown}" if shown else reply.name


def _line(reply: KernelReply, cell: _Cell) -> int | None:
    """Return the line of the cell at which it failed, by the traceback; None where it names none."""
    text = _ANSI.sub("", reply.traceback)
    found = re.findall(r"In\s?\[(\d+)\], line (\d+)", text)
    lines = [int(line) for number, line in found if int(number) == (reply.number or cell.number)]
    return lines[-1] if lines else None
