"""Markdown with fields at its top: what counts as fields, and files that would take time to read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.capability.frontmatter import FrontMatterError, read_front_matter, split_fenced

REFERENCE = re.compile(r"^---\s*\n(.*?)\n---\s*\n(.*)$", re.DOTALL)
"""How the reference finds the fields."""

PIECES = st.sampled_from(
    ["---", "\n", "\n\n", " ", "a: 1", "--", "-", "\t\n", "x", "\u2028", "---\n", "\n---\n"]
)


@pytest.mark.clause("4.1 discovery")
@given(st.lists(PIECES, max_size=12).map("".join).map(lambda text: f"---{text}"))
def test_the_fields_of_a_text_are_those_that_the_reference_finds(text):
    fenced, expected = split_fenced(text), REFERENCE.match(text)
    if expected is None:
        assert fenced is None
    else:
        assert fenced == (*expected.span(1), expected.start(2))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["---\n" + "\n" * 900_000, "---\n" + "\n--- x" * 150_000, "---" + " \n" * 400_000]
)
def test_a_text_of_blank_lines_is_read_in_no_time(tmp_path, text):
    (tmp_path / "a.md").write_text(text)
    assert read_front_matter(tmp_path / "a.md").fields is None


def test_fields_that_are_a_bomb_are_not_read_and_the_line_of_the_file_is_said(tmp_path):
    bomb = "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
    (tmp_path / "a.md").write_text(f"---\na0: &a0 x\n{bomb}---\nYou help.\n")
    problem = read_front_matter(tmp_path / "a.md").problem
    assert problem == f"{tmp_path}/a.md:7:5: more than 10,000 values, counting what aliases repeat; split it"


def test_a_file_that_is_too_large_is_refused(tmp_path):
    (tmp_path / "a.md").write_text("x" * 1_000_001)
    with pytest.raises(FrontMatterError, match="is larger than 1,000,000 bytes; make it smaller"):
        read_front_matter(tmp_path / "a.md")
