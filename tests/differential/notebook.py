"""`Notebook`: cells, how they are run, which events are fired, and what must come of it; read from a text.

    # expect: same
    # fire: ask {"n": 1}
    x = [1]
    # ---- next cell ----
    %%worker demo
    @worker.on_event("ask")
    async def on_ask(event, client):
        await client.publish("told", {"x": x})

Header lines, all of them optional:

`expect: same`, or `same-or-refused`, or `refused`, or `refused: REGEX`, what an export of the kernel must be
`file: ...`, the same for an export of the file; by default the export may be refused there, and never wrong
`fire: KIND {...}`, once for each event; by default `ask {}` is fired twice
`run: 1 3 2 3`, the numbers of the cells in the order of their runs; by default each runs once
`kernel: real`, only a real kernel tells the truth about this one
`errors: yes`, handlers may fail; otherwise a handler that fails in the kernel is a mistake of the notebook
`beside: NAME`, a text file beside the notebook, whose lines follow after `#   `
`why: ...`, why an expectation is not `same`

A line between cells says more of the cell below it: `# ---- next cell ---- again 2` has a new text of cell 2,
`# ---- next cell ---- fails` must raise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BETWEEN = re.compile(r"^# ---- next cell ----(.*)\n", re.MULTILINE)
_HEADER = re.compile(r"# (expect|file|fire|run|kernel|errors|beside|why): ?(.*)\n")
_FIRES = re.compile(r"^\s*(%fire\b|%replay\b|(\w+ = )?await dn\.(fire|replay)\(.*\)\s*$)")

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class NotebookCell:
    """One cell; cells with one id are one cell with different texts."""

    source: str
    id: str
    fails: bool = False

    def without_fires(self) -> NotebookCell:
        """Return the cell without lines that fire events."""
        lines = [line for line in self.source.split("\n") if not _FIRES.match(line)]
        return NotebookCell("\n".join(lines), self.id, self.fails)


@dataclass(frozen=True)
class Notebook:
    """A notebook, how it is run and what must come of it."""

    name: str
    cells: Sequence[NotebookCell]
    expect: str = "same"
    file: str = "same-or-refused"
    fires: Sequence[tuple[str, dict[str, Any]]] = (("ask", {}), ("ask", {}))
    run: Sequence[int] = ()
    needs_kernel: bool = False
    may_fail: bool = False
    beside: dict[str, str] = field(default_factory=dict)
    why: str = ""

    @property
    def steps(self) -> list[NotebookCell]:
        """The cells as they are run."""
        return [self.cells[n - 1] for n in self.run] if self.run else list(self.cells)

    @property
    def is_plain(self) -> bool:
        """Whether its file says how it was run: each cell once, from top to bottom, none failing."""
        ids = [cell.id for cell in self.cells]
        return (
            self.steps == list(self.cells)
            and len(set(ids)) == len(ids)
            and not any(c.fails for c in self.cells)
        )

    @property
    def fires_itself(self) -> bool:
        """Whether its cells fire events, after which live handlers may have changed what they use."""
        return any(cell.without_fires() != cell for cell in self.cells)

    def as_ipynb(self) -> str:
        """Return the notebook's file."""
        cells = [
            {
                "cell_type": "code",
                "id": cell.id,
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": cell.source.splitlines(keepends=True),
            }
            for cell in {cell.id: cell for cell in self.cells}.values()
        ]
        return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})

    def as_text(self) -> str:
        """Return the text that `read` reads."""
        heads = [f"# expect: {self.expect}", *(f"# fire: {k} {json.dumps(p)}" for k, p in self.fires)]
        if self.run:
            heads.append(f"# run: {' '.join(map(str, self.run))}")
        first: dict[str, int] = {}
        parts = []
        for number, cell in enumerate(self.cells, 1):
            words = [f"again {first[cell.id]}"] if cell.id in first else []
            words += ["fails"] if cell.fails else []
            first.setdefault(cell.id, number)
            parts.append((" ".join(words), cell.source))
        body = parts[0][1] + "\n"
        for words, source in parts[1:]:
            body += f"# ---- next cell ----{' ' + words if words else ''}\n{source}\n"
        return "\n".join(heads) + "\n" + body


def read(name: str, text: str) -> Notebook:
    """Read a notebook.

    Raises:
        ValueError: a line between cells says what nobody knows.
    """
    found: dict[str, list[str]] = {}
    beside: dict[str, str] = {}
    while (match := _HEADER.match(text)) is not None:
        text = text[match.end() :]
        found.setdefault(match[1], []).append(match[2].strip())
        if match[1] == "beside":
            lines = []
            while text.startswith("#   ") or text.startswith("#\n"):
                line, _, text = text.partition("\n")
                lines.append(line[4:])
            beside[match[2].strip()] = "\n".join(lines) + "\n"
    pieces = _BETWEEN.split("# ---- next cell ----\n" + text)[1:]
    cells: list[NotebookCell] = []
    for number, (said, source) in enumerate(zip(pieces[::2], pieces[1::2], strict=True), 1):
        again, fails = re.search(r"again (\d+)", said), "fails" in said
        if not re.fullmatch(r"( again \d+)?( fails)?\s*", said):
            raise ValueError(f"{name}, cell {number}: what is {said!r}?")
        cells.append(NotebookCell(source.strip("\n"), f"id-{again[1] if again else number}", fails))
    fires = [_fire(line) for line in found.get("fire", ["ask {}", "ask {}"])]
    return Notebook(
        name,
        cells,
        expect=found.get("expect", ["same"])[0],
        file=found.get("file", ["same-or-refused"])[0],
        fires=fires,
        run=[int(n) for n in found.get("run", [""])[0].split()],
        needs_kernel=found.get("kernel") == ["real"],
        may_fail=found.get("errors") == ["yes"],
        beside=beside,
        why=" ".join(found.get("why", [])),
    )


def _fire(line: str) -> tuple[str, dict[str, Any]]:
    kind, _, payload = line.partition(" ")
    return kind, json.loads(payload or "{}")


def corpus() -> dict[str, Path]:
    """Return the texts of the corpus by name."""
    return {
        path.relative_to(CORPUS).with_suffix("").as_posix(): path for path in sorted(CORPUS.rglob("*.txt"))
    }


def load(name: str) -> Notebook:
    """Read a notebook of the corpus."""
    return read(name, corpus()[name].read_text(encoding="utf-8"))
