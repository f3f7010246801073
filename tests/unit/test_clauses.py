"""The table of clauses is complete and up to date, and every citation of the contract resolves to an anchor of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from ..clauses import CLAUSES

PROJECT = Path(__file__).parents[2]
SUFFIXES = {".py", ".md", ".js", ".mjs", ".css", ".html", ".toml"}
CITATION = re.compile(r"\bcontract (\d[\d.]*(?:(?:,| and) \d[\d.]*)*)( no\.|-\d)?")
"""`contract 4.8`, or several: `contract 1.3, 11.13`; the second group is what no citation may have."""


@pytest.fixture(scope="module")
def made():
    sys.path.insert(0, str(PROJECT / "scripts"))
    try:
        import make_clauses
    finally:
        sys.path.pop(0)
    return make_clauses


def cited_files() -> list[Path]:
    """Return the files that cite the contract, or may."""
    folders = ("dnworker", "extension", "docs", "tests", "scripts", "benchmarks")
    found = [file for folder in folders for file in (PROJECT / folder).rglob("*") if file.suffix in SUFFIXES]
    return [*sorted(found), *sorted(PROJECT.glob("*.md")), PROJECT / "pyproject.toml"]


def citations(file: Path) -> list[tuple[str, str]]:
    """Return the cited numbers, each with what may not follow it; a citation may continue in the next line."""
    text = re.sub(r"\s*\n\s*(?:#|//|\*)?\s*", " ", file.read_text(encoding="utf-8"))
    return [
        (number.strip("."), match[2] or "")
        for match in CITATION.finditer(text)
        for number in re.split(r", | and ", match[1])
    ]


def test_every_clause_is_held_by_a_test(made):
    held = made.marked_tests()
    assert [clause for clause in CLAUSES if clause not in held] == []
    assert [clause for clause in held if clause not in CLAUSES] == []


def test_the_page_of_clauses_is_up_to_date(made):
    assert made.OUTPUT.read_text(encoding="utf-8") == made.page(), "run: python scripts/make_clauses.py"


def test_every_clause_stands_on_the_page_once(made):
    rows = re.findall(r"^\| (?:<a id=\"[\d.]+\"></a>)?(\d[^|]*?) \|", made.page(), re.MULTILINE)
    assert sorted(rows) == sorted(CLAUSES)


def test_every_citation_of_the_contract_resolves(made):
    anchors = set(re.findall(r'<a id="([\d.]+)"></a>', made.OUTPUT.read_text(encoding="utf-8")))
    assert anchors == set(made.anchors())
    lost = [
        f"{file.relative_to(PROJECT)}: contract {number}{rest}"
        for file in cited_files()
        if file != Path(__file__)
        for number, rest in citations(file)
        if rest or number not in anchors
    ]
    assert lost == [], "cite as `contract 4.8`, with a number that docs/contributing/clauses.md has"
