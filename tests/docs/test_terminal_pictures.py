"""The pictures of the command line in the docs are what the commands show today."""

from __future__ import annotations

import re

import pytest

from scripts.terminal_pictures import IMAGES, PICTURES, picture


def texts_of(svg: str) -> list[str]:
    """Return what is written in a picture; how rich draws the frame may change with its version."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_what_its_command_shows_today(name):
    kept = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert texts_of(kept) == texts_of(picture(name)), "make it anew: python -m scripts.terminal_pictures"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_asks_no_other_server_and_has_the_words_of_its_command(name):
    kept = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert not re.search(r"url\(\"?http", kept)
    assert len(texts_of(kept)) > 5
