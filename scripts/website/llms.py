"""Writes what language models read: `llms.txt` as llmstxt.org has it, and all pages as Markdown."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from .pages import Page

SUMMARY = (
    "dnworker runs workers: named sets of Python handlers that react to events, run on schedules and keep"
    " state. You write them live in a Jupyter notebook or as scripts, test them with recorded events and a"
    " virtual clock, and export them as capabilities that `dnworker serve` runs."
)
ADVICE = "Each page is also there as Markdown, at the address below. `llms-full.txt` has all of them."
_DIRECTIVE = re.compile(r"^::: (?P<name>[\w.]+)\n(?P<options>(?:[ ]{4}.*\n|\n(?=[ ]{4}))*)", re.MULTILINE)
_HIDDEN = re.compile(r"^[ ]*<!-- (?:run: [^\n]*|hidden .*?) ?-->\n", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r'<div class="output">(?P<html>.*?)</div>\n\n', re.DOTALL)


def write(site: Path, pages: Sequence[Page], listed: Sequence[Page]) -> None:
    """Write `llms.txt` of what is listed, `llms-full.txt` of all pages, and a `.md` for each at its path."""
    texts = {page.path: as_text(page) for page in pages}
    for path, text in texts.items():
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    (site / "llms.txt").write_text("\n".join(index(listed)) + "\n", encoding="utf-8")
    whole = "\n\n".join(f"<!-- {path} -->\n\n{text.strip()}" for path, text in texts.items())
    (site / "llms-full.txt").write_text(whole + "\n", encoding="utf-8")


def index(pages: Sequence[Page]) -> Iterator[str]:
    """Go through the lines of `llms.txt`: a section for each part of the navigation, a link for each page."""
    yield from ("# dnworker", "", f"> {SUMMARY}", "", ADVICE)
    for section, below in groupby(pages, key=lambda page: page.section[0] if page.section else "More"):
        name = "Optional" if section == "Contributing" else section
        yield from ("", f"## {name}", "")
        for page in below:
            yield f"- [{page.title}]({page.path})" + (f": {page.summary}" if page.summary else "")


def as_text(page: Page) -> str:
    """Return a page as a model reads it: without marks of the tests, with the API in place of directives."""
    text = _HIDDEN.sub("", page.text)
    text = _DIRECTIVE.sub(lambda found: f"{describe(found['name'])}\n", text)
    return _OUTPUT.sub("", text)


def describe(name: str) -> str:
    """Return signature and docstring of what a dotted name means; of a class, of its public methods too."""
    found = _resolve(name)
    lines = [f"### {name}", "", *_signature(name.rpartition(".")[2], found), inspect.getdoc(found) or ""]
    if inspect.isclass(found):
        for member, value in vars(found).items():
            value = getattr(value, "__func__", value)
            if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                lines += ["", f"#### {member}", "", *_signature(member, value), inspect.getdoc(value) or ""]
    return "\n".join(lines).rstrip() + "\n"


def _resolve(name: str) -> Any:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(f"a page documents {name}, which is not there")


def _signature(name: str, found: Any) -> list[str]:
    try:
        signature = str(inspect.signature(found))
    except (TypeError, ValueError):
        return []  # a property, a module, or what is no callable
    return ["```python", f"{name}{signature}", "```", ""]
