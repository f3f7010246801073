"""Compares a notebook with its exports: from its kernel, and from its file.

`Harness.compare` runs the cells and exports, fires events at the notebook and at the exports, each in a process
of its own, and says for each export: `same`, `different`, `refused` or `crashed`. Where cells themselves fire
events, the notebook's side is a second run without those lines: an export begins with what cells left, and
not with what handlers have changed since.
"""

from __future__ import annotations

import difflib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .notebook import Notebook
from .zygote import Zygote

Verdict = Literal["same", "different", "refused", "crashed", "skipped"]


@dataclass(frozen=True)
class Side:
    """What became of one export."""

    verdict: Verdict
    detail: str = ""
    """The problems, the differences or the traceback."""
    tree: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What became of a notebook."""

    notebook: Notebook
    kernel: Side
    file: Side
    broken: str = ""
    """Why the notebook itself is wrong, so that nothing can be said of exports."""

    @property
    def wrong(self) -> list[str]:
        """The sentences that say how it is not as expected; none when all is well."""
        found = [f"the notebook is broken: {self.broken}"] if self.broken else []
        for name, side, expect in (
            ("kernel", self.kernel, self.notebook.expect),
            ("file", self.file, self.notebook.file),
        ):
            if side.verdict != "skipped" and not _is_as_expected(side, expect):
                found.append(f"the export of the {name} is {side.verdict}, not {expect}:\n{side.detail}")
        return found


def _is_as_expected(side: Side, expect: str) -> bool:
    import re

    wanted, _, pattern = expect.partition(":")
    if wanted == "same-or-refused":
        return side.verdict in ("same", "refused")
    return side.verdict == wanted and re.search(pattern.strip(), side.detail, re.DOTALL) is not None


class Harness:
    """Compares notebooks one after the other; close it at the end.

    Args:
        real_kernel: run cells in a real kernel, not in the shell of one.
        real_script: run exports as `python SCRIPT`, not in a fork that has imported dnworker.
    """

    def __init__(self, *, real_kernel: bool = False, real_script: bool = False) -> None:
        self._kernel = Zygote("kernel")
        self._script = Zygote("script")
        self._real_kernel = real_kernel
        self._real_script = real_script

    def close(self) -> None:
        """End its processes."""
        self._kernel.close()
        self._script.close()

    def compare(self, notebook: Notebook, *, file: bool = True) -> Result:
        """Compare a notebook with its exports; with `file` false with that of its kernel only."""
        with tempfile.TemporaryDirectory(prefix="dnworker-differential-") as temporary:
            return _Comparison(self, notebook, Path(temporary)).run(file=file)

    def run_notebook(self, notebook: Notebook, directory: Path, *, export: Path | None) -> dict[str, Any]:
        """Run the cells; with a directory, export to it first."""
        fires = [list(fire) for fire in notebook.fires]
        steps = [(c.source, c.id, c.fails) for c in notebook.steps]
        out = None if export is None else str(export)
        if self._real_kernel or notebook.needs_kernel:
            from .real_kernel import run_in_kernel

            return run_in_kernel(directory, steps, fires, out)
        label = "reference" if export is None else "export"
        return self._kernel.do("live", directory, steps=steps, fires=fires, export=out, label=label)

    def export_file(self, notebook: Path, out: Path) -> dict[str, Any]:
        """Export a notebook file."""
        return self._kernel.do("file", notebook.parent, notebook=str(notebook), export=str(out))

    def run_export(self, notebook: Notebook, root: Path) -> dict[str, Any]:
        """Run an export and fire at it."""
        real = self._real_script or len([*(root / "workers").glob("*.py")]) > 1
        home = root.parent / "home"
        home.mkdir()
        fires = [list(fire) for fire in notebook.fires]
        return self._script.do("real-script" if real else "script", home, root=str(root), fires=fires)


class _Comparison:
    """One comparison in a temporary directory."""

    def __init__(self, harness: Harness, notebook: Notebook, directory: Path) -> None:
        self._harness = harness
        self._notebook = notebook
        self._directory = directory
        self._expected: dict[str, Any] = {}

    def run(self, *, file: bool) -> Result:
        skipped = Side("skipped")
        out = self._directory / "from-kernel" / "demo"
        answer = self._harness.run_notebook(self._notebook, self._place("notebook"), export=out)
        self._expected = answer
        if self._notebook.fires_itself:
            self._expected = self._reference()
        if broken := self._broken(answer, self._expected):
            return Result(self._notebook, skipped, skipped, broken)
        kernel = self._side(answer, out)
        if kernel.verdict == "different" and (why := self._is_unsteady()):
            return Result(self._notebook, skipped, skipped, why)
        if not file or not self._notebook.is_plain:
            return Result(self._notebook, kernel, skipped)
        path = self._place("file") / "notebook.ipynb"
        path.write_text(self._notebook.as_ipynb(), encoding="utf-8")
        out = self._directory / "from-file" / "demo"
        answer = self._harness.export_file(path, out)
        if answer.get("refused") is None and _tree(out) == kernel.tree:
            return Result(self._notebook, kernel, kernel)
        return Result(self._notebook, kernel, self._side(answer, out))

    def _place(self, name: str) -> Path:
        place = self._directory / name
        place.mkdir()
        for file, text in self._notebook.beside.items():
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_text(text)
        return place

    def _reference(self, name: str = "reference") -> dict[str, Any]:
        """Run the notebook once more without the lines that fire events."""
        from dataclasses import replace

        bare = replace(self._notebook, cells=[c.without_fires() for c in self._notebook.cells])
        return self._harness.run_notebook(bare, self._place(name), export=None)

    def _broken(self, *answers: dict[str, Any]) -> str:
        """Return why nothing can be compared."""
        for answer in answers:
            if "crash" in answer:
                return str(answer["crash"])
            if answer["failed"]:
                return "\n".join(f"run {n}: {why}\n{source}" for n, source, why in answer["failed"])
        done = [effect for effects in self._expected["effects"] for effect in effects]
        if not any(action.startswith("publishes") for _, action, _ in done):
            return f"its handlers publish nothing: {done or 'no handler ran'}"
        if not self._notebook.may_fail and any(action.startswith("raises") for _, action, _ in done):
            return f"its handlers fail in the kernel: {done}"
        return ""

    def _is_unsteady(self) -> str:
        """Return what differs between two runs of the notebook itself."""
        found = differences(self._expected, self._reference("once-more"))
        return f"it does something else in each run:\n{found}" if found else ""

    def _side(self, answer: dict[str, Any], out: Path) -> Side:
        if "crash" in answer:
            return Side("crashed", answer["crash"])
        if answer["refused"] is not None:
            refused = str(answer["refused"])
            is_ours = "Traceback" not in refused
            return Side("refused" if is_ours else "crashed", refused)
        tree = _tree(out)
        found = self._harness.run_export(self._notebook, out)
        if "crash" in found:
            return Side("crashed", found["crash"], tree)
        if difference := differences(self._expected, found):
            return Side("different", difference, tree)
        return Side("same", "", tree)


def differences(notebook: dict[str, Any], export: dict[str, Any]) -> str:
    """Return how two runs differ, `-` before what only the notebook did; empty when they do not."""
    if "crash" in export:
        return str(export["crash"])
    one, other = _lines(notebook), _lines(export)
    if one == other:
        return ""
    return "\n".join(line.rstrip() for line in difflib.ndiff(one, other) if line[0] in "-+")


def _lines(run: dict[str, Any]) -> list[str]:
    lines = list(run["handlers"])
    for number, effects in enumerate(run["effects"], 1):
        lines += [f"event {number}: {who} {action} {json.dumps(value)}" for who, action, value in effects]
    return lines


def _tree(root: Path) -> dict[str, str]:
    if not root.is_dir():
        return {}
    return {
        path.relative_to(root).as_posix(): path.read_text(errors="replace")
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".whl"
    }


@contextmanager
def harness(**how: bool) -> Iterator[Harness]:
    """Give a harness, and close it."""
    made = Harness(**how)
    try:
        yield made
    finally:
        made.close()
