"""The pages of docs/reference do what they say: their code runs, and answers what they show."""

from __future__ import annotations

import pytest

from .page import blocks_of
from .pages import name_of, pages
from .running import PageRun

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]  # a page may run dozens of commands


@pytest.mark.parametrize("page", pages("reference", "coming-from"), ids=name_of)
def test_the_code_of_a_page_runs_and_answers_what_the_page_says(page, tmp_path):
    with PageRun(tmp_path) as run:
        for block in blocks_of(page):
            run.run(block)
