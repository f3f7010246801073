"""Each screen of the panel looks as it did; see `pictures` for what may differ and how a change is accepted."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from .pictures import KEPT, MADE, MOST, SCREENS, differing, keep, share, take

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_looks_as_it_did(browser, name):
    found = Image.open(io.BytesIO(take(browser, name)))
    wanted = Image.open(KEPT / f"{name}.png")
    assert found.size == wanted.size
    marked = differing(found, wanted)
    if share(marked) < MOST:
        return
    keep(MADE / f"{name}.png", found)
    marked.save(MADE / f"{name}-differs.png")
    pytest.fail(
        f"{share(marked):.1%} of the pixels of {name} differ; see {MADE / name}.png and {name}-differs.png, "
        f"and accept what is meant by: python -m tests.browser.pictures {name}"
    )


def test_a_missing_button_is_a_difference():
    first = Image.new("RGB", (200, 100), "white")
    second = first.copy()
    second.paste("blue", (0, 0, 40, 10))
    assert share(differing(first, second)) == 0.02 > MOST


def test_a_little_of_another_shade_is_none():
    first, second = (Image.new("RGB", (200, 100), (level, 255, 255)) for level in (200, 238))
    assert share(differing(first, second)) == 0
