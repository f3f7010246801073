"""The pictures of the panel: `python -m tests.browser.pictures [NAME ...]` draws and keeps them; a test compares.

With `docs` as the only name it draws those of the documentation.

Two machines draw letters a little differently: few pixels may differ, and a little of each.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from . import scenes
from .scene import NOW_MS, show, show_states

KEPT = Path(__file__).parents[1] / "data" / "pictures"
DOCS = Path(__file__).parents[2] / "docs"
MADE = Path(__file__).parents[2] / ".build" / "pictures"

FAR = 40
"""Steps of 256 in a channel by which a pixel may be another: letters are smoothed by each machine in its way."""

MOST = 0.01
"""Share of the pixels that may differ by more."""

IN_DOCS = {
    "overview": "panel-overview.png",
    "runs": "before/panel-events-after.png",
    "workers": "before/panel-workers-after.png",
}
"""The screens that the documentation shows, at one and a half of their size."""

BLOCK, MOST_OF_BLOCK = 20, 0.65
"""Px of a square, and how much of one may differ: other letters fill none, a missing button does."""

Act = Callable[[Any], None]


def brush(page: Any) -> None:
    """Select what happened from 14:27:00 to 14:29:33, and point at the first failure."""
    box = page.locator(".plot").nth(1).bounding_box()
    height = box["y"] + 30
    page.mouse.move(box["x"] + box["width"] * 0.658, height)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, height)
    page.mouse.move(box["x"] + box["width"] * 0.808, height)
    page.mouse.up()
    point(page)


def point(page: Any) -> None:
    """Point at the first failure."""
    page.locator(".fl").first.hover()


def open_runs(page: Any) -> None:
    """Open the list of runs, which shows the newest one."""
    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("search", name="Runs").get_by_role("textbox").press_sequentially("since:15m ")
    page.get_by_role("option").first.click()
    page.get_by_role("treegrid").locator(".x.f").first.wait_for()
    page.locator(".errline").first.wait_for()
    page.mouse.move(1, 1)


def open_sequence(page: Any) -> None:
    """Open the sequence diagram above an open log."""
    open_runs(page)
    page.get_by_role("radio", name="Sequence").click()
    page.get_by_role("button", name="Log", exact=True).click()
    page.get_by_text("rows 401 to 800").first.wait_for()
    page.mouse.move(1, 1)


def open_worker(page: Any) -> None:
    """Open a worker nine seconds before, since when a part of its state has changed."""
    page.clock.set_fixed_time((NOW_MS - 9000) / 1000)
    page.get_by_role("tab", name="Workers").click()
    page.get_by_text("importer", exact=True).click()
    page.get_by_text("last_file").wait_for()
    page.evaluate("window.model.change()")
    page.get_by_text("+400").wait_for()
    page.clock.set_fixed_time(NOW_MS / 1000)
    page.get_by_text("+400, 9 s ago").wait_for()
    page.evaluate("document.activeElement?.blur()")
    page.mouse.move(1, 1)


def open_map(page: Any) -> None:
    """Open the map and choose a worker."""
    page.get_by_role("tab", name="Map").click()
    page.locator("[data-node='worker/csvdrop:importer']").click()
    page.evaluate("document.activeElement?.blur()")
    page.mouse.move(1, 1)


def see_states(page: Any) -> None:
    """Fire the event of the failed one again: a toast answers."""
    page.get_by_role("button", name="Fire again").first.click()
    page.get_by_text("Fired shop.sale #5").wait_for()
    page.mouse.move(1, 1)


@dataclass(frozen=True)
class Screen:
    """One screen: its scene, its size in px, and what is done before it is taken."""

    scene: Callable[[], Any]
    size: tuple[int, int]
    act: Act = lambda page: None
    dark: bool = False
    hosted: bool = False


OVERVIEW, RUNS, WORKERS, NOTEBOOK = (1500, 940), (1500, 940), (1500, 1040), (1000, 560)

SCREENS = {
    "overview": Screen(scenes.overview, OVERVIEW, brush),
    "overview-dark": Screen(scenes.overview, OVERVIEW, brush, dark=True),
    "runs": Screen(scenes.runs, RUNS, open_runs),
    "runs-dark": Screen(scenes.runs, RUNS, open_runs, dark=True),
    "sequence": Screen(scenes.runs, (1500, 980), open_sequence),
    "workers": Screen(scenes.workers, WORKERS, open_worker),
    "workers-dark": Screen(scenes.workers, WORKERS, open_worker, dark=True),
    "map": Screen(scenes.flow_map, (1500, 900), open_map),
    "notebook": Screen(lambda: scenes.overview(hosted=True, flows=2), NOTEBOOK, point, hosted=True),
    "notebook-runs": Screen(lambda: scenes.runs(hosted=True), NOTEBOOK, open_runs, hosted=True),
    "narrow": Screen(scenes.overview, (420, 960)),
    "states": Screen(scenes.states, (1640, 1400), see_states),
}


def take(browser: Any, name: str, scale: float = 1) -> bytes:
    """Draw one screen, as a PNG."""
    screen = SCREENS[name]
    width, height = screen.size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=scale,
        timezone_id="UTC",
        locale="en-US",
        reduced_motion="reduce",
    )
    try:
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        if name == "states":
            show_states(page, screen.scene())
        else:
            show(page, screen.scene(), dark=screen.dark, hosted=screen.hosted)
        screen.act(page)
        if problems:
            raise AssertionError("; ".join(problems))
        page.evaluate("document.fonts.ready")
        return page.screenshot(animations="disabled", caret="hide")
    finally:
        context.close()


def differing(first: Image.Image, second: Image.Image) -> Image.Image:
    """Return where two pictures of one size differ, as black and white."""
    channels = ImageChops.difference(first.convert("RGB"), second.convert("RGB")).split()
    most = ImageChops.lighter(ImageChops.lighter(channels[0], channels[1]), channels[2])
    return most.point(lambda step: 255 if step > FAR else 0)


def share(marked: Image.Image) -> float:
    """Return the share of white pixels."""
    return marked.histogram()[255] / (marked.width * marked.height)


def worst(marked: Image.Image) -> float:
    """Return the share of white pixels in the square that has the most."""
    size = max(1, marked.width // BLOCK), max(1, marked.height // BLOCK)
    return marked.resize(size, Image.Resampling.BOX).getextrema()[1] / 255


COMMON, RARE = 176, 80
"""Colours of a kept picture: the most frequent ones as they are, and some that cover the rest."""


def keep(path: Path, image: Image.Image) -> None:
    """Write a picture in 256 colours, which is enough for a panel and a third of the bytes."""
    image = image.convert("RGB")
    counted = sorted(image.getcolors(image.width * image.height), reverse=True)
    rare = image.quantize(RARE, method=Image.Quantize.MAXCOVERAGE).getpalette()
    common = [step for _, colour in counted[:COMMON] for step in colour]
    palette = np.array(common + rare[: 3 * RARE], dtype=np.int32).reshape(-1, 3)
    found, places = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_inverse=True)
    nearest = ((found[:, None].astype(np.int32) - palette[None]) ** 2).sum(axis=2).argmin(axis=1)
    indexes = nearest.astype(np.uint8)[places.reshape(-1)].reshape(image.height, image.width)
    kept = Image.fromarray(indexes)
    kept.putpalette(palette.astype(np.uint8).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    kept.save(path, optimize=True)


def main(names: list[str]) -> None:
    """Draw the screens of these names, or all, and keep them; those of the documentation where that is asked."""
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
    from lab import launch

    is_docs = names == ["docs"]
    paths = {name: KEPT / f"{name}.png" for name in names or SCREENS}
    if is_docs:
        paths = {name: DOCS / file for name, file in IN_DOCS.items()}
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for name, path in paths.items():
            keep(path, Image.open(io.BytesIO(take(browser, name, 1.5 if is_docs else 1))))
            print(path.name)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
