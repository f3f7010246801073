"""`%explain` in a real kernel, and the code at the end of what a magic refuses."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel


def test_a_refused_magic_ends_in_a_code_that_explain_shows_as_markdown(kernel):
    refused = kernel.run("%fire demo.ping --time 3")
    assert refused.status == "error"
    assert refused.text.splitlines()[0].endswith(" (DN101)")
    (shown,) = kernel.run("%explain DN101").displays
    assert shown["text/markdown"].startswith("# DN101: the line of a magic\n")
    assert shown["text/plain"].startswith("DN101: the line of a magic\n")


def test_words_find_pages_and_an_unknown_code_names_the_nearest(kernel):
    (shown,) = kernel.run("%explain dead letter").displays
    assert "DN319" in shown["text/plain"]
    assert "did you mean DN104" in kernel.run("%explain DN1044").text


def test_explain_answers_when_the_runtime_does_not_run(kernel):
    kernel.run("%runtime stop")
    (shown,) = kernel.run("%explain DN104").displays
    assert "%%worker" in shown["text/plain"]
