"""Every how-to page does what it says: its code runs, and answers what the page shows."""

from __future__ import annotations

import re

import pytest

from .page import blocks_of
from .pages import name_of, pages
from .running import PageRun

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(120)]
LONGEST = 60
"""Lines of a page that people see."""

HIDDEN = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", pages("how-to"), ids=name_of)
def test_the_code_of_a_page_runs_and_answers_what_the_page_says(page, tmp_path):
    with PageRun(tmp_path) as run:
        for block in blocks_of(page):
            run.run(block)


@pytest.mark.parametrize("page", pages("how-to"), ids=name_of)
def test_a_page_is_short(page):
    shown = HIDDEN.sub("", page.read_text(encoding="utf-8"))
    assert len(shown.splitlines()) <= LONGEST
