"""The notebook's file and journal, by what the front end and the environment say."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnworker_jupyter.kernel.notebook_file import journal_of, notebook_path, read_saved


def test_the_front_end_names_the_notebook(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    assert notebook_path(SimpleNamespace(user_ns={})) == Path("/notebooks/a.ipynb")
    named = SimpleNamespace(user_ns={"__vsc_ipynb_file__": "/notebooks/b.ipynb"})
    assert notebook_path(named) == Path("/notebooks/b.ipynb")
    monkeypatch.setenv("JPY_SESSION_NAME", "console")
    assert notebook_path(SimpleNamespace(user_ns={})) is None


def test_saved_code_cells_are_known_by_their_ids(tmp_path):
    file = tmp_path / "n.ipynb"
    cells = [
        {"cell_type": "code", "id": "a", "source": ["x = 1\n", "y"]},
        {"cell_type": "markdown", "id": "b", "source": "text"},
        {"cell_type": "code", "source": "without an id"},
    ]
    file.write_text(json.dumps({"cells": cells}))
    saved = read_saved(file)
    assert saved is not None
    assert saved.sources == {"a": "x = 1\ny"}


@pytest.mark.parametrize("text", ["", "[]", '{"cells": [1]}', '{"cells": []}'])
def test_a_file_that_cannot_be_read_shows_nothing(tmp_path, text):
    file = tmp_path / "n.ipynb"
    file.write_text(text)
    assert read_saved(file) is None
    assert read_saved(tmp_path / "other.ipynb") is None
    assert read_saved(None) is None


def test_a_journal_is_named_turned_off_or_the_notebooks_own(monkeypatch, tmp_path):
    monkeypatch.setenv("DNWORKER_JOURNAL", "off")
    assert journal_of(tmp_path / "n.ipynb") is None
    monkeypatch.setenv("DNWORKER_JOURNAL", str(tmp_path / "j.db"))
    assert journal_of(tmp_path / "n.ipynb") == tmp_path / "j.db"
    monkeypatch.delenv("DNWORKER_JOURNAL")
    one, other = journal_of(tmp_path / "my notes.ipynb"), journal_of(tmp_path / "x" / "my notes.ipynb")
    assert one is not None
    assert one.name.startswith("my-notes-")
    assert one != other
