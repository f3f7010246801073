"""Cells of a notebook file."""

from __future__ import annotations

import json

import pytest

from dnworker.core.errors import UsageError
from dnworker_jupyter.export.slicing.cells import read_notebook
from dnworker_jupyter.kernel.cells import Cell


def test_a_notebook_file_gives_its_code_cells(tmp_path):
    file = tmp_path / "n.ipynb"
    cells = [
        {"cell_type": "markdown", "source": "x"},
        {"cell_type": "code", "source": ["a = 1\n", "b = 2"], "id": "c1"},
    ]
    file.write_text(json.dumps({"cells": cells}))
    assert read_notebook(file) == [Cell(1, "a = 1\nb = 2", "c1")]
    file.write_text("{")
    with pytest.raises(UsageError, match="is no notebook"):
        read_notebook(file)
