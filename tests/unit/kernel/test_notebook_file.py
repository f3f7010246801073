"""The notebook's file as it is saved."""

from __future__ import annotations

import json

import pytest

from dnworker_jupyter.kernel.notebook_file import read_saved


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
