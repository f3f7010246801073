"""Text in pieces becomes lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.text import LONGEST_PARTIAL, LineSplitter


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
