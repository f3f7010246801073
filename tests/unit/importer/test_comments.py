"""Which comments are banners, and what a rewritten line would lose."""

from __future__ import annotations

import pytest

from dnworker_jupyter.importer.comments import lost_comments, read_above


@pytest.mark.parametrize(
    ("lines", "headings", "rest"),
    [
        (["# ---- x y ----"], ["x y"], []),
        (["# === x ==="], ["x"], []),
        (["#--- x ---#"], ["x"], []),
        (["# --- x"], ["x"], []),
        (["#### x ####"], ["x"], []),
        (["## x"], ["x"], []),
        (["# %% x"], ["x"], []),
        (["#########", "# x", "#########"], ["x"], []),
        (["# -----", "# x", "# more", "# -----"], ["x\n\nmore"], []),
        (["# =====", "# x", "", "# y"], ["x"], ["# y"]),
        (["# - - - -", "# ─────"], [], []),
        (["# -----", "# a sentence", "# of two lines", "def"], [], ["# a sentence", "# of two lines", "def"]),
        (["# plain"], [], ["# plain"]),
        (["# -1 is an error"], [], ["# -1 is an error"]),
        (["## A sentence, as a comment."], [], ["## A sentence, as a comment."]),
        (["    # --- x ---"], [], ["    # --- x ---"]),
        (["", "# a", "", "", "# b", ""], [], ["# a", "", "# b"]),
    ],
)
def test_banners_are_headings_and_other_comments_stay(lines, headings, rest):
    found = read_above(lines)
    assert (list(found.headings), list(found.lines)) == (headings, rest)


def test_comments_of_a_line_that_is_written_anew_are_kept_and_those_for_tools_are_not():
    before = ["from x import (  # why", "    a,  # noqa: F401", "    # text", "    b,", ")"]
    assert lost_comments(before, ["from x import b"]) == ["# why", "# text"]
    assert lost_comments(["x = '# no comment'"], []) == []
