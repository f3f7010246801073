"""The pages of the site in the order of its navigation, with their titles and first sentences."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
SITE = PROJECT / ".build" / "site"

_NOT_PROSE = re.compile(r"^(#|```|~~~|!\[|<|:::|\||---|!!!|\?\?\?|===|[-*] |> |\d+\. )")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Page:
    """A page of the site.

    Attributes:
        path: of its Markdown, relative to docs/.
        section: the names of the parts of the navigation that it is in, from the outermost.
    """

    path: str
    section: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return its Markdown without front matter, and without comments before its title."""
        text = (DOCS / self.path).read_text(encoding="utf-8")
        return re.sub(r"\A(---\n.*?\n---\n|<!--.*?-->|\s)*", "", text, flags=re.DOTALL)

    @property
    def title(self) -> str:
        """Return its first heading; the name of its file, where it has none."""
        found = re.search(r"^# (.+)$", self.text, re.MULTILINE)
        return plain(found[1]) if found else Path(self.path).stem

    @property
    def summary(self) -> str:
        """Return its first sentence; empty where it has no paragraph."""
        for block in re.split(r"\n\s*\n", self.text):
            if block.strip() and not _NOT_PROSE.match(block.strip()):
                return re.split(r"(?<=[.?!])\s|:$", plain(" ".join(block.split())), maxsplit=1)[0]
        return ""

    @property
    def html(self) -> Path:
        """Return the file that is made of it, relative to the site."""
        page = Path(self.path)
        return page.with_suffix(".html") if page.stem == "index" else page.with_suffix("") / "index.html"


def plain(text: str) -> str:
    """Return Markdown as text: links by their words."""
    return _LINK.sub(r"\1", text).replace("**", "").replace("\\", "").strip()


def navigation() -> list[Page]:
    """Return all pages of the navigation in zensical.toml."""
    nav = tomllib.loads((PROJECT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    return [*_pages(nav, ())]


def all_pages() -> list[Page]:
    """Return the pages of the navigation, and then those that only pages lead to, such as messages."""
    pages = navigation()
    listed = {page.path for page in pages}
    paths = [file.relative_to(DOCS).as_posix() for file in sorted(DOCS.rglob("*.md"))]
    return pages + [
        Page(path, ()) for path in paths if path not in listed and not path.startswith("decisions/")
    ]


def _pages(entries: list[Any], section: tuple[str, ...]) -> Iterator[Page]:
    for entry in entries:
        if isinstance(entry, str):
            yield Page(entry, section)
            continue
        for name, below in entry.items():
            if isinstance(below, str):
                yield Page(below, section)
            else:
                yield from _pages(below, (*section, name))
