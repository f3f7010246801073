"""Every promise names what holds it, and that exists; what users read of it has the same lines."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs/contributing/promises.md"
DELIVERY = PROJECT / "docs/understand/delivery.md"
REFERENCE = re.compile(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`")


def test_every_row_of_a_table_with_tests_names_one():
    text = PAGE.read_text(encoding="utf-8")
    without = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = table.splitlines()
        if "held by" in head:
            without += [row for row in rows if not REFERENCE.search(row)]
    assert without == []


def test_every_test_that_is_named_exists():
    missing = []
    for file, function in REFERENCE.findall(PAGE.read_text(encoding="utf-8")):
        path = PROJECT / file
        if not path.is_file() or (function and f"def {function}(" not in path.read_text(encoding="utf-8")):
            missing.append(f"{file}::{function}" if function else file)
    assert missing == []


def rows_of(page: Path, head: str) -> list[list[str]]:
    """Return the cells of each row of the table that begins with `head`."""
    table = page.read_text(encoding="utf-8").partition(f"| {head} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]


def test_every_cell_of_the_table_of_brokers_and_faults_names_its_test():
    cells = [cell for row in rows_of(PAGE, "accepted, and then") for cell in row[1:]]
    assert len(cells) >= 12
    assert [cell for cell in cells if not REFERENCE.search(cell) and "needs none" not in cell] == []


def test_the_table_that_users_read_has_the_lines_of_the_table_with_tests():
    assert [row[0] for row in rows_of(DELIVERY, "accepted, and then")] == [
        row[0] for row in rows_of(PAGE, "accepted, and then")
    ]


def test_what_survives_has_the_same_things_for_users():
    """Each thing of the table with tests is in the users' table, which has a column a way of keeping events."""
    full = {row[0].partition(",")[0].partition(" with `")[0] for row in rows_of(PAGE, "what survives")}
    assert {row[0] for row in rows_of(DELIVERY, "after a kill")} == full - {"the same"}
