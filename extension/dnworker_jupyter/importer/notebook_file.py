"""The notebook that an import makes, and its file (nbformat 4.5); used by importer and command line."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dnworker.core.errors import UsageError

CellKind = Literal["code", "markdown"]

_IDENTITY = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class NotebookCell:
    """One cell of the notebook that is made; `label` becomes its id."""

    kind: CellKind
    source: str
    label: str


@dataclass
class Imported:
    """The notebook of a capability, and the files that go beside it."""

    name: str
    cells: list[NotebookCell] = field(default_factory=list)
    beside: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What an export of the notebook will not have."""

    def as_ipynb(self) -> bytes:
        """Return the notebook's file (nbformat 4.5); the same capability gives the same bytes."""
        made, seen = [], set()
        for cell in self.cells:
            stem = identity = _IDENTITY.sub("-", cell.label).strip("-")[:56] or "cell"
            number = 2
            while identity in seen:
                identity, number = f"{stem}-{number}", number + 1
            seen.add(identity)
            one: dict[str, object] = {"cell_type": cell.kind, "id": identity, "metadata": {}}
            if cell.kind == "code":
                one |= {"execution_count": None, "outputs": []}
            made.append(one | {"source": cell.source.splitlines(keepends=True)})
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def write_notebook(made: Imported, file: Path, *, force: bool = False) -> list[Path]:
    """Write the notebook and what goes beside it; returns the paths.

    Raises:
        UsageError: a file with other content exists, and `force` is False; or the disk refuses a write.
            Nothing was written.
    """
    if file.suffix != ".ipynb":
        raise UsageError(
            f"{file}: a notebook's file ends in .ipynb; name one, as in: -o {file.stem or 'demo'}.ipynb",
            code="DN515",
        )
    wanted: Mapping[Path, bytes] = {
        file: made.as_ipynb(),
        **{file.parent / name: data for name, data in made.beside.items()},
    }
    there: Sequence[Path] = [p for p, data in wanted.items() if p.exists() and p.read_bytes() != data]
    if there and not force:
        listed = ", ".join(map(str, there))
        raise UsageError(
            f"{listed} is there already; nothing was written. Name another file, or use --force", code="DN515"
        )
    staged = {path: path.with_name(f".{path.name}.dnworker") for path in wanted}
    try:
        for path, data in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged[path].write_bytes(data)
        for path in wanted:  # all of them are on the disk: what follows needs no room
            staged[path].replace(path)
    except OSError as exc:
        raise UsageError(
            f"{file} could not be written: {exc.strerror or exc}; nothing was written", code="DN515"
        ) from exc
    finally:
        for left in staged.values():
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)
    return [*wanted]
