"""The pages of the documentation that people read."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
NOT_FOR_USERS = ("contributing", "decisions")


def pages(*folders: str) -> list[Path]:
    """Return the pages of folders below docs/; of docs/ itself, when none is named.

    Those that the build makes of notebooks are left out: the notebooks run in tests of their own.
    """
    if not folders:
        return sorted(DOCS.glob("*.md"))
    found = [page for folder in folders for page in sorted((DOCS / folder).rglob("*.md"))]
    return [page for page in found if page.parent.name != "tutorials" or page.stem == "index"]


def name_of(page: Path) -> str:
    """Return a page's path below docs/."""
    return page.relative_to(DOCS).as_posix()
