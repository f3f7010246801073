"""The table of clauses is complete and as the tests say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ..clauses import CLAUSES

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made():
    sys.path.insert(0, str(PROJECT / "scripts"))
    try:
        import make_clauses
    finally:
        sys.path.pop(0)
    return make_clauses


def test_every_clause_is_held_by_a_test(made):
    held = made.marked_tests()
    assert [clause for clause in CLAUSES if clause not in held] == []
    assert [clause for clause in held if clause not in CLAUSES] == []


def test_the_table_in_the_docs_is_up_to_date(made):
    assert made.OUTPUT.read_text(encoding="utf-8") == made.table(), "run: python scripts/make_clauses.py"
