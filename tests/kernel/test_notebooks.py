"""Every tutorial runs from top to bottom in a real kernel, and is what its text says."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_runs_and_exports(path, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DNWORKER_JOURNAL", str(tmp_path / "journal.db"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (exported,) = (tmp_path / "out").iterdir()
    assert (exported / "capability.yaml").is_file()
    said = "\n".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "Traceback" not in said
    assert len(str(notebook)) - len(path.read_text()) < 300_000


def test_the_tutorials_are_what_their_texts_say():
    sys.path.insert(0, str(PROJECT / "scripts"))
    from make_notebooks import TUTORIALS, build

    assert {path.stem for path in NOTEBOOKS} == set(TUTORIALS)
    for path in NOTEBOOKS:
        assert nbformat.read(path, as_version=4) == build(TUTORIALS[path.stem]), path.name
