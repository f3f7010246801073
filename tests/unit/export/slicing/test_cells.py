"""Cells of a notebook file."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from dnworker.core import parsing
from dnworker.core.errors import UsageError
from dnworker_jupyter.export.slicing.cells import read_cells, read_notebook
from dnworker_jupyter.syntax.cell import Cell


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


PARTS = st.sampled_from([
    "a", "f(x)", "=", " = ", "!=", "==", "%", "%%", "!", "!!", "?", "??", ",", ";", "/", "\\\n", "\n", "\n\n", " ",
    "    ", "\t", "\r", "\f", "\x85", "\u2028", ">>> ", "...", "...: ", "In [1]: ", "[ins] In [1]: ", '"', "'",
    '"""', "(", ")", "[", "]", "{", "}", "# c", "time", "if x:", "    b", "f'{x!r}'", "lambda", ":", "1", "@d",
])  # fmt: skip


@given(parts=st.lists(PARTS, max_size=12))
def test_a_cell_is_read_as_ipython_reads_it(parts):
    text = "".join(parts)
    if text.startswith("%%") or not text.strip():
        return  # the magic of a cell and blank lines are read apart
    [cell] = read_cells([Cell(1, f"x\n{text}")])
    try:
        as_ipython = TransformerManager().transform_cell(f"x\n{text}")
    except SyntaxError:
        as_ipython = f"x\n{text}"
    assert cell.body == as_ipython


def test_a_cell_whose_lines_are_indented_wrongly_is_read_and_is_no_python():
    for text in ("if 1:\n    a\n  b", "if 1:\n    a % 2\n  !ls"):
        [cell] = read_cells([Cell(1, text)])
        with pytest.raises(SyntaxError):
            _ = cell.tree


def test_a_cell_at_which_python_fails_while_another_thread_parses_is_parsed_again(monkeypatch):
    tries = []

    def fails_once(*args, **options):
        tries.append(args)
        if len(tries) == 1:
            raise SystemError("AST constructor recursion depth mismatch (before=39, after=33)")
        return compile(*args, **options)

    monkeypatch.setattr(parsing, "compile", fails_once, raising=False)
    [cell] = read_cells([Cell(1, "parsed_twice = await again")])
    assert ast.unparse(cell.tree) == "parsed_twice = await again"
    assert len(tries) == 2
