"""The pages of the documentation that people read."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
NOT_FOR_USERS = ("contributing", "decisions")


def pages(*folders: str) -> list[Path]:
    """Return the pages of folders below docs/; of docs/ itself, when none is named."""
    if not folders:
        return sorted(DOCS.glob("*.md"))
    return [page for folder in folders for page in sorted((DOCS / folder).rglob("*.md"))]


def name_of(page: Path) -> str:
    """Return a page's path below docs/."""
    return page.relative_to(DOCS).as_posix()
