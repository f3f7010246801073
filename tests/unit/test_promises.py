"""Every promise of the pages on guarantees and on security names what holds it, and that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGES = ["docs/guarantees.md", "docs/security.md"]
REFERENCE = re.compile(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize("page", PAGES)
def test_every_row_of_a_table_with_tests_names_one(page):
    text = (PROJECT / page).read_text(encoding="utf-8")
    without = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = table.splitlines()
        if "held by" in head:
            without += [row for row in rows if not REFERENCE.search(row)]
    assert without == []


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page):
    missing = []
    for file, function in REFERENCE.findall((PROJECT / page).read_text(encoding="utf-8")):
        path = PROJECT / file
        if not path.is_file() or (function and f"def {function}(" not in path.read_text(encoding="utf-8")):
            missing.append(f"{file}::{function}" if function else file)
    assert missing == []


def test_every_cell_of_the_table_of_brokers_and_faults_names_its_test():
    text = (PROJECT / "docs/guarantees.md").read_text(encoding="utf-8")
    table = text.partition("| accepted, and then |")[2].partition("\n\n")[0]
    cells = [cell for row in table.splitlines()[2:] for cell in row.split("|")[2:-1]]
    assert len(cells) >= 12
    assert [cell for cell in cells if not REFERENCE.search(cell) and "needs none" not in cell] == []
