"""Writes docs/contributing/clauses.md: each clause of the contract, with the tests that hold it."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
OUTPUT = PROJECT / "docs" / "contributing" / "clauses.md"

HEAD = """# The contract, clause by clause

The contract is what users and other programs rely on: the Worker class, the manifest, events, the HTTP API,
the client. Code cites it as "contract 4.8": look up section 4.8 below. Numbered entries such as 13.20 have
an anchor of their own. A link to either is `clauses.md#4.8` or `clauses.md#13.20`.

The tests in the last column hold the clause. `python scripts/make_clauses.py` makes this page of
`tests/clauses.py` and of the marks `@pytest.mark.clause(...)` of the tests. Do not edit it by hand.
"""

TABLE = """
| Clause | What it says | Tests |
|---|---|---|
"""


@functools.cache
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


def page() -> str:
    """Return the document."""
    sys.path.insert(0, str(PROJECT))
    from tests.clauses import CLAUSES, SECTIONS

    tests = marked_tests()
    parts = [HEAD]
    for number, title in SECTIONS.items():
        level = "###" if "." in number else "##"
        parts.append(f'\n{level} <a id="{number}"></a>{number} {title}\n')
        rows = [
            _row(clause, sentence, tests.get(clause, []))
            for clause, sentence in CLAUSES.items()
            if section_of(clause, SECTIONS) == number
        ]
        if rows:
            parts += [TABLE, *rows]
    return "".join(parts)


def section_of(clause: str, sections: dict[str, str]) -> str:
    """Return the section of a clause: `4.8` of `4.8 ready`, and `13` of the numbered entry `13.20`."""
    number = clause.partition(" ")[0]
    return number if number in sections else number.partition(".")[0]


def anchors() -> Iterator[str]:
    """Yield what a citation can resolve to: numbers of sections, and of entries within sections."""
    sys.path.insert(0, str(PROJECT))
    from tests.clauses import CLAUSES, SECTIONS

    yield from SECTIONS
    yield from (clause for clause in CLAUSES if _is_entry(clause))


def _is_entry(clause: str) -> bool:
    """Return whether a clause is a numbered entry such as `13.20`, not a part of a section."""
    return " " not in clause


def _row(clause: str, sentence: str, tests: list[str]) -> str:
    anchor = f'<a id="{clause}"></a>' if _is_entry(clause) else ""
    held = "<br>".join(f"`{test.partition('tests/')[2]}`" for test in sorted(tests))
    return f"| {anchor}{clause} | {sentence.replace('|', chr(92) + '|')} | {held} |\n"


if __name__ == "__main__":
    OUTPUT.write_text(page(), encoding="utf-8")
