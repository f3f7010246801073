"""Links between the project's documents lead to files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DOCUMENTS = [
    file
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md")
    for file in sorted(PROJECT.glob(pattern))
    if file.parent.name != "tutorials" or file.stem == "index"  # the others are made by the build
]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def is_there(target: Path) -> bool:
    """Return whether a page exists, or is one that the build makes of a notebook."""
    made = PROJECT / "notebooks" / f"{target.stem}.ipynb"
    return target.exists() or (target.parent == PROJECT / "docs" / "start" / "tutorials" and made.exists())


def anchors_of(file: Path) -> set[str]:
    """Return what a link can lead to: anchors written as HTML, and headings as GitHub names them."""
    text = file.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a id="([^"]+)"></a>', text))


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(PROJECT)))
def test_every_link_leads_somewhere(file):
    broken = []
    for path, anchor in LINK.findall(file.read_text(encoding="utf-8")):
        target = (file.parent / path).resolve() if path else file
        if not is_there(target) or (anchor and anchor not in anchors_of(target)):
            broken.append(f"{path}#{anchor}" if anchor else path)
    assert broken == []
