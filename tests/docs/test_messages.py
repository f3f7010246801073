"""The example on each page of `dnworker explain` provokes the message that the page explains."""

from __future__ import annotations

import re

import pytest

from dnworker.explain.pages import page_of

from .page import blocks_of
from .pages import PROJECT
from .running import PageRun

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(120)]

PAGES = sorted((PROJECT / "dnworker" / "explain").glob("DN*.md"))
RUN = [page for page in PAGES if all(block.why_not_run is None for block in blocks_of(page))]
"""The pages whose example is run; the others say why theirs is not."""

CODE = re.compile(r"\b(?:DN\d{3}|CAP-[A-Z]+-\d{3})\b")


def test_most_examples_are_run():
    assert len(RUN) >= 90


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_its_message(page):
    assert page.stem in {"DN401"} or any(
        page.stem in {page_of(code).code for code in CODE.findall(block.code)}
        for block in blocks_of(page)
        if block.language == "text"
    )


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_example_provokes_exactly_this_message(page, tmp_path):
    answer = ""
    with PageRun(tmp_path) as run:
        for block in blocks_of(page):
            run.run(block)
            if block.language in ("python", "sh") and block.title is None:
                answer = run.answer or ""
    found = set(CODE.findall(answer))
    assert found, answer
    if own := {code for code in found if code.startswith("DN")}:  # it may pass on the rules of a manifest
        assert own == {page.stem}, answer
    elif page.stem != "DN401":  # which is about the lines of all rules
        assert {page_of(code).code for code in found} == {page.stem}, answer
