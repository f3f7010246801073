"""ARCHITECTURE.md names files that exist, and describes every folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ROOTS = (PROJECT, PROJECT / "dnworker", PROJECT / "extension" / "dnworker_jupyter")
FRONT = PROJECT / "dnworker" / "panel" / "static"
PLACES = (*ROOTS, FRONT, *(folder for folder in FRONT.iterdir() if folder.is_dir()))
PATH = re.compile(r"[\w./-]+(?:\.(?:py|md|js|toml)|/)")
"""A code span that is a path: of a file, or of a folder with a slash at its end."""


def described() -> list[tuple[str, str]]:
    """Return each path that the page names, with the folder of the paragraph in which it stands."""
    text = (PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found, folder = [], ""
    for line in text.splitlines():
        for span in re.finditer(r"(\*\*)?`([^`]+)`(\*\*)?", line):
            path = span[2]
            if span[1] and path.endswith("/"):
                folder = path
            if PATH.fullmatch(path) and not re.search(r"\bx/", path):
                found.append((path, folder))
        if line.startswith("## The way"):
            folder = ""
    return found


def test_every_path_of_the_page_exists():
    missing = [
        path
        for path, folder in described()
        if not any((root / place / path).exists() for root in PLACES for place in ("", folder))
    ]
    assert missing == []


@pytest.mark.parametrize("package", ROOTS[1:], ids=lambda package: package.name)
def test_every_folder_has_its_paragraph(package):
    folders = {
        f"{file.parent.relative_to(package)}/"
        for file in package.rglob("*.py")
        if file.parent != package and any(file.parent.glob("[!_]*.py"))
    }
    told = {path for path, _ in described() if path.endswith("/")}
    assert folders - told - {"export/"} == set()
