"""The built site stands on its own: every page is in the navigation, and nothing comes from another host."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from scripts.website import spelling
from scripts.website.pages import DOCS, PROJECT, SITE, all_pages, navigation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

LOADED = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "iframe": ("src",),
}
"""The attributes of tags by which a browser loads something."""
NO_LOADING = {"canonical", "next", "prev", "edit", "alternate"}
"""What a `link` may name and a browser does not load."""


class Looked(HTMLParser):
    """What one page loads, its title, and its images without an alternative text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.silent: list[str] = []
        self.title = ""
        self._is_title = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._is_title = tag == "title" and not self.title
        if tag == "link" and given.get("rel") in NO_LOADING:
            return
        self.loads += [given[name] for name in LOADED.get(tag, ()) if name in given]
        self.loads += re.findall(r"url\(([^)]*)\)", given.get("style", ""))
        if tag == "img" and not given.get("alt", "").strip():
            self.silent.append(given.get("src", ""))

    def handle_data(self, data: str) -> None:
        if self._is_title:
            self.title += data

    def handle_endtag(self, tag: str) -> None:
        self._is_title = self._is_title and tag != "title"


@pytest.fixture(scope="module")
def site() -> Path:
    """Build the site as `make docs` does; what the tutorials answered is kept from the last build."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.website", "build"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    return SITE


@pytest.fixture(scope="module")
def looked(site) -> dict[str, Looked]:
    """Every built page, by its address."""
    return {
        file.relative_to(site).as_posix(): Looked(file.read_text(encoding="utf-8"))
        for file in site.rglob("*.html")
    }


def test_no_page_loads_anything_from_another_host(site, looked):
    far = re.compile(r"^\s*(https?:)?//")
    found = [f"{name}: {url}" for name, page in looked.items() for url in page.loads if far.match(url)]
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        urls = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", text)
        found += [f"{sheet.name}: {url}" for pair in urls for url in pair if far.match(url)]
    assert found == []
    assert sum(len(page.loads) for page in looked.values()) > len(looked)  # something is loaded at all


def test_what_a_page_loads_is_in_the_site(site, looked):
    missing = []
    for name, page in looked.items():
        for url in page.loads:
            path = unquote(urlsplit(url.split()[0]).path) if url.strip() else ""
            base = site if path.startswith("/") else (site / name).parent
            if not url.startswith("data:") and not (base / path.lstrip("/")).exists():
                missing.append(f"{name}: {url}")
    assert missing == []


@pytest.mark.usefixtures("site")  # which writes the pages of tutorials, messages and the reference
def test_every_page_is_in_the_navigation_or_the_first_page_of_its_folder_lists_it():
    listed = {page.path for page in navigation()}
    for folder, index in (("messages", "index.md"), ("decisions", "README.md")):
        text = (DOCS / folder / index).read_text(encoding="utf-8")
        listed |= {f"{folder}/{name}" for name in (index, *re.findall(r"\]\(([\w-]+\.md)\)", text))}
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert sorted(pages - listed) == []
    assert [path for path in sorted(listed) if not (DOCS / path).exists()] == []


def test_every_image_has_a_text_in_its_place(looked):
    assert {name: page.silent for name, page in looked.items() if page.silent} == {}


def test_each_page_has_a_title_of_its_own(looked):
    titles: dict[str, list[str]] = {}
    for name, page in looked.items():
        titles.setdefault(page.title.strip(), []).append(name)
    assert {title: names for title, names in titles.items() if not title or len(names) > 1} == {}


def test_models_find_every_page_as_text(site):
    index = (site / "llms.txt").read_text(encoding="utf-8")
    whole = (site / "llms-full.txt").read_text(encoding="utf-8")
    assert index.startswith("# dnworker\n\n> ")
    assert [page.path for page in navigation() if f"]({page.path})" not in index] == []
    for page in all_pages():
        assert f"<!-- {page.path} -->" in whole
        text = (site / page.path).read_text(encoding="utf-8")
        assert text.startswith("# "), page.path
        assert not re.search(r"^<!-- (run|hidden)|^::: ", text, re.MULTILINE), page.path


def test_no_word_is_misspelled():
    assert spelling.check() == []


def test_a_misspelled_word_is_found(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("You recieve an event.\n")
    monkeypatch.setattr(spelling, "WHERE", (str(tmp_path),))
    (line,) = spelling.check()
    assert line.endswith("page.md:1: recieve ==> receive")
