"""Text: whole lines out of pieces, long text cut, invalid text mended, the word that was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.text import (
    LONGEST_PARTIAL,
    LineSplitter,
    clip,
    closest,
    is_valid_text,
    shorten,
    valid_text,
)


def lines(*pieces: str) -> list[str]:
    splitter = LineSplitter()
    found = [line for piece in pieces for line in splitter.add("w", piece)]
    return found + splitter.end("w")


def test_pieces_are_put_together_and_what_is_left_comes_at_the_end():
    assert lines("a", "b\nc", "\n", "d") == ["ab", "c", "d"]


def test_of_a_progress_bar_the_last_state_is_kept():
    assert lines(*[f"\r{n} %" for n in range(101)], "\n") == ["100 %"]
    assert lines("a\r\n", "b\r", "\nc\r\n") == ["a", "b", "c"]


def test_a_line_without_end_does_not_grow_for_ever():
    found = lines(*["x" * 1000] * 200)
    assert "".join(found) == "x" * 200_000
    assert all(len(line) <= LONGEST_PARTIAL + 1000 for line in found)


def test_writers_do_not_mix():
    splitter = LineSplitter()
    assert splitter.add("a", "one ") == []
    assert splitter.add("b", "other\n") == ["other"]
    assert splitter.add("a", "two\n") == ["one two"]


@given(st.lists(st.text(alphabet="ab\n"), max_size=20))
def test_the_lines_are_those_of_the_whole_text(pieces):
    whole = "".join(pieces)
    expected = whole.split("\n")
    assert lines(*pieces) == (expected if expected[-1] else expected[:-1])


@pytest.mark.parametrize(
    ("text", "longest", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "..."), ("abcdef", 5, "ab..."), ("abc", 1, "...")],
)
def test_long_text_is_shortened_with_three_dots(text, longest, shown):
    assert shorten(text, longest) == shown


def test_clipped_text_says_how_much_of_it_is_missing():
    assert clip("a" * 3_000, 1_000) == "a" * 1_000 + " [cut: 2,000 more characters]"
    assert clip("abc", 3) == "abc"


def test_clipped_text_is_valid():
    assert clip("a\ud800b", 2) == "a\N{REPLACEMENT CHARACTER} [cut: 1 more characters]"


@given(st.text(st.characters()))
def test_valid_text_can_be_encoded_and_keeps_its_length(text):
    mended = valid_text(text + "\udcff")
    mended.encode()
    assert is_valid_text(mended)
    assert not is_valid_text(text + "\udcff")
    assert len(mended) == len(text) + 1


def test_the_word_that_was_meant_is_the_nearest_if_one_is_near():
    assert closest("dupliate", ["delay", "duplicate"]) == "duplicate"
    assert closest("x", ["delay", "duplicate"]) is None


def test_text_that_is_cut_or_short_holds_no_lone_surrogate():
    assert is_valid_text(shorten("caf\u00e9 \ud800", 50))
    assert is_valid_text(shorten("\ud800" * 60, 50))
