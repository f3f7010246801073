"""Writes the tutorials in notebooks/; their texts live in scripts/tutorials, where they can be reviewed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from textwrap import dedent

import nbformat
from tutorials import agents, debugging, events, folder_watcher, quickstart, time_and_failure

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
TUTORIALS = {
    "01-quickstart": quickstart.CELLS,
    "02-events-and-traces": events.CELLS,
    "03-time-and-failure": time_and_failure.CELLS,
    "04-agents": agents.CELLS,
    "05-debugging": debugging.CELLS,
    "06-a-folder-watcher": folder_watcher.CELLS,
}


def build(texts: list[tuple[str, str]]) -> nbformat.NotebookNode:
    """Return a notebook; the ids of cells depend on nothing but their text, and how often it came before."""
    cells: list[nbformat.NotebookNode] = []
    for kind, text in texts:
        source = dedent(text).strip()
        make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        before = sum(cell.source == source for cell in cells)
        name = f"{source}{before or ''}"
        cells.append(make(source, id=hashlib.sha256(name.encode()).hexdigest()[:8]))
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}}
    )


if __name__ == "__main__":
    NOTEBOOKS.mkdir(exist_ok=True)
    for name, texts in TUTORIALS.items():
        nbformat.write(build(texts), NOTEBOOKS / f"{name}.ipynb")
        print(name)
