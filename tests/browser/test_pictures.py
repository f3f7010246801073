"""Each screen of the panel looks as it did; see `pictures` for what may differ and how a change is accepted."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from .pictures import KEPT, MADE, MOST, MOST_OF_BLOCK, SCREENS, differing, keep, share, take, worst

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_looks_as_it_did(browser, name):
    found = Image.open(io.BytesIO(take(browser, name)))
    wanted = Image.open(KEPT / f"{name}.png")
    assert found.size == wanted.size
    marked = differing(found, wanted)
    if share(marked) < MOST and worst(marked) < MOST_OF_BLOCK:
        return
    keep(MADE / f"{name}.png", found)
    marked.save(MADE / f"{name}-differs.png")
    pytest.fail(
        f"{share(marked):.1%} of the pixels of {name} differ; see {MADE / name}.png and {name}-differs.png, "
        f"and accept what is meant by: python -m tests.browser.pictures {name}"
    )


@pytest.mark.parametrize("at", range(20))
def test_a_missing_button_is_a_difference(at):
    """It is so wherever it lies on the grid of squares, though it is small beside the screen."""
    first = Image.new("RGB", (1500, 900), "white")
    second = first.copy()
    second.paste("blue", (700 + at, 400 + at, 800 + at, 428 + at))
    marked = differing(first, second)
    assert share(marked) < MOST
    assert worst(marked) > MOST_OF_BLOCK


def test_lines_that_moved_by_a_pixel_fill_no_square():
    first = Image.new("RGB", (400, 400), "white")
    second = first.copy()
    for y in range(0, 400, 5):
        first.paste("black", (0, y, 400, y + 1))
        second.paste("black", (0, y + 1, 400, y + 2))
    assert worst(differing(first, second)) < MOST_OF_BLOCK


def test_a_little_of_another_shade_is_none():
    first, second = (Image.new("RGB", (200, 100), (level, 255, 255)) for level in (200, 238))
    assert share(differing(first, second)) == 0
