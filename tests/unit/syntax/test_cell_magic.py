"""The magic that a cell begins with."""

from __future__ import annotations

import pytest

from dnworker_jupyter.syntax.cell_magic import cell_magic


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("%%worker bridge\nx = 1", "worker"),
        ("\n# why\n  # more\n\n%%worker bridge", "worker"),
        ("%%worker", "worker"),
        ("%%workers x", "workers"),
        ("HELP = '''\n%%worker bridge\n'''", None),
        (" %%worker bridge", None),
        ("x = 1\n%%worker bridge", None),
        ("%worker bridge", None),
        ("x = 1", None),
        ("# only this", None),
        ("", None),
    ],
)
def test_it_is_on_the_first_line_that_is_no_comment(source, name):
    assert cell_magic(source) == name
