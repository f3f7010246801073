"""The generated pages of docs/reference are what their sources say, and every public name is on one."""

from __future__ import annotations

import re

import pytest

import dnworker
import dnworker.patterns
import dnworker.testing
import dnworker_jupyter
from dnworker_jupyter.display import widgets
from scripts.reference.pages import DOCS, MAN, PAGES, WRITE, made

PUBLIC = [
    *(f"dnworker.{name}" for name in dnworker.__all__),
    *(f"dnworker.patterns.{name}" for name in dnworker.patterns.__all__),
    *(f"dnworker.testing.{name}" for name in dnworker.testing.__all__),
    *(f"dnworker_jupyter.{name}" for name in dnworker_jupyter.__all__),
    *(f"dnworker_jupyter.display.widgets.{name}" for name in widgets.__all__),
    "dnworker.compat.install",
    "dnworker.compat.uninstall",
]


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_its_source_says(name):
    page = DOCS / name
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    assert text == made(name), f"docs/{name} is not what its source says; write it with: {WRITE}"


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_says_so_in_its_first_line(name):
    mark = '.\\" Generated from ' if name == MAN else "<!-- Generated from "
    assert made(name).startswith(mark)


def test_every_public_name_is_on_one_page_of_the_reference():
    directives = [found for name in PAGES for found in re.findall(r"^::: (\S+)$", made(name), re.MULTILINE)]
    assert sorted(directives) == sorted(PUBLIC)
