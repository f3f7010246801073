"""Writes docs/clauses.md: every clause of the contract, and the tests that hold it, by their markers."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
OUTPUT = PROJECT / "docs" / "clauses.md"

HEAD = """# The contract, clause by clause

What the outside world relies on, and the tests that hold it. A clause is named by its place in the contract;
one whose number begins with 11 or 13 is a place where the reference differs or is at fault, and where this
project does not follow it. This table is made of the tests' markers: `python scripts/make_clauses.py`.

| Clause | What it says | Held by |
|---|---|---|
"""


def marked_tests() -> dict[str, list[str]]:
    """Return clause to tests, as `file::test`, in the order of files and lines."""
    found: dict[str, list[str]] = {}
    for file in sorted((PROJECT / "tests").rglob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.clause":
                    clause = ast.literal_eval(mark.args[0])
                    found.setdefault(clause, []).append(f"{file.relative_to(PROJECT)}::{node.name}")
    return found


def table() -> str:
    """Return the document."""
    sys.path.insert(0, str(PROJECT))
    from tests.clauses import CLAUSES

    tests = marked_tests()
    rows = []
    for clause, sentence in CLAUSES.items():
        held = "<br>".join(f"`{test.partition('tests/')[2]}`" for test in sorted(tests.get(clause, ())))
        rows.append(f"| {clause} | {sentence.replace('|', chr(92) + '|')} | {held} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    OUTPUT.write_text(table(), encoding="utf-8")
