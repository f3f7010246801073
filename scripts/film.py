"""Takes the film of the docs: twenty seconds in a real JupyterLab, once light and once dark.

A frame is a picture of the notebook after a step, with the time that it is shown. So the film does not depend
on how fast the machine is.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from lab import has_run, launch, open_notebook, running_lab
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Locator, Page, sync_playwright

PROJECT = Path(__file__).parent.parent
DOCS = PROJECT / "docs" / "images"
NOTEBOOK = "demo.ipynb"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
WIDTH, HEIGHT, SCALE = 900, 600, 4 / 3
AROUND = (76, 88)
"""Of the window, in pixels: what is beside and above the notebook."""
LARGEST = 1_500_000
"""Bytes of a film."""
KEY, LINE_END = 55, 140
"""Milliseconds: after some characters, and after a line."""

WORKER = """%%worker billing

@worker.on_event("turn.completed")
async def bill(event, client):
    usage = event.payload["usage"]
    cost = 0.002 * usage["tokens"]
    print(f"that is {cost:.3f} dollars")
    await client.publish("demo.billed", {"cost": cost})"""
QUIET = """
.jp-Notebook-footer, .jp-cell-toolbar, .jp-Toolbar-micro { display: none !important; }
*::-webkit-scrollbar { display: none !important; }
.jp-Notebook { padding: 12px 8px !important; }
"""


class Film:
    """The frames of one film, and the page that they are taken of."""

    def __init__(self, page: Page, notebook: Path) -> None:
        self._page = page
        self._notebook = notebook
        self._frames: list[Image.Image] = []
        self._times: list[int] = []
        self._last = b""
        box = page.locator(".jp-NotebookPanel-notebook").first.bounding_box()
        assert box is not None
        self._clip: FloatRect = {
            **box,
            "width": min(box["width"], WIDTH),
            "height": min(box["height"], HEIGHT),
        }

    def hold(self, milliseconds: int) -> None:
        """Take a picture, and show it for that time; one that looks like the last lengthens it."""
        taken = self._page.screenshot(clip=self._clip)
        if taken == self._last:
            self._times[-1] += milliseconds
            return
        self._last = taken
        self._frames.append(Image.open(io.BytesIO(taken)).convert("RGB"))
        self._times.append(milliseconds)

    def type(self, text: str) -> None:
        """Type into the cell that is edited, some characters a frame."""
        indented = 0
        for number, line in enumerate(text.split("\n")):
            if number:
                self._page.keyboard.press("Enter")
            for start in range(indented, len(line), 7):
                self._page.keyboard.insert_text(line[start : start + 7])
                self.hold(KEY)
            self.hold(LINE_END)
            indented = len(line) - len(line.lstrip()) + 4 * line.endswith(":")  # as the editor does

    def save(self, code: str) -> None:
        """Save the notebook, and wait until its file has a cell with this code: traces lead to it."""
        self._page.keyboard.press("Control+s")
        for _ in range(600):
            cells = nbformat.read(self._notebook, as_version=4).cells
            if any(cell.source == code for cell in cells):
                return
            self._page.wait_for_timeout(100)  # nothing on the page tells
        raise TimeoutError(f"{self._notebook.name} was not saved")

    def write(self, path: Path) -> None:
        """Write the film.

        Raises:
            ValueError: it is larger than a page should load.
        """
        first, *others = self._frames
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=self._times,
            loop=0,
            quality=82,
            method=6,
            minimize_size=True,
        )
        size = path.stat().st_size
        print(
            f"{path.name}: {len(self._frames)} frames, {sum(self._times) / 1000:.1f} s, {size / 1e6:.2f} MB"
        )
        if size > LARGEST:
            raise ValueError(f"{path.name} has {size} bytes, more than {LARGEST}")


def play(page: Page, film: Film) -> None:
    """Write a worker, let it fail, mend it, look at it, and export it."""
    film.hold(600)
    _run(page, film, 0, "%load_ext dnworker", hold=500)
    _run(page, film, 1, WORKER, hold=1400)
    failed = _run(page, film, 2, "%fire turn.completed", hold=0)
    failed.get_by_text("KeyError").first.wait_for()
    film.hold(2600)
    _mend(page, film)
    again = _run(page, film, 3, "%replay last", hold=0)
    again.get_by_text("demo.billed").first.wait_for()
    _show(again)
    film.hold(2400)
    panel = _run(page, film, 4, "%panel", hold=0).locator(".dn")
    panel.get_by_text("1 running", exact=True).wait_for()
    panel.get_by_role("tab", name="Runs").click()
    panel.get_by_role("option").filter(has_text="turn.completed").first.click()
    panel.get_by_role("treegrid").get_by_role("row").filter(has_text="bill").first.wait_for()
    page.mouse.move(2, 2)
    _show(_cell(page, 4))
    film.hold(3200)
    exported = _run(page, film, 5, "%capability export out/demo", hold=0)
    exported.get_by_text("capability.yaml").first.wait_for()
    _show(exported)
    film.hold(3000)


def _cell(page: Page, number: int) -> Locator:
    return page.locator(".jp-Notebook .jp-CodeCell").nth(number)


def _show(cell: Locator) -> None:
    cell.evaluate("cell => cell.scrollIntoView({block: 'end'})")


def _run(page: Page, film: Film, number: int, code: str, hold: int) -> Locator:
    """Type code into a cell and run it; returns the cell once it has ended."""
    cell = _cell(page, number)
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    film.type(code)
    typed = "\n".join(line.strip("\n") for line in cell.locator(".cm-line").all_inner_texts())
    if typed != code:
        raise ValueError(f"the editor has made something else of the code:\n{typed}")
    film.hold(250)
    film.save(code)
    page.keyboard.press("Shift+Enter")
    has_run(cell).wait_for()
    _show(cell)
    page.mouse.move(2, 2)
    if hold:
        cell.locator(".jp-OutputArea-output").or_(cell).first.wait_for()
        film.hold(hold)
    return cell


def _mend(page: Page, film: Film) -> None:
    """Put the right key in the place of the wrong one, and run the cell again."""
    cell = _cell(page, 1)
    cell.evaluate("cell => cell.scrollIntoView({block: 'start'})")
    line = cell.locator(".cm-line", has_text='usage["tokens"]')
    line.click()
    page.keyboard.press("End")
    for _ in '"]':
        page.keyboard.press("ArrowLeft")
    film.hold(500)
    page.keyboard.press("Control+Shift+ArrowLeft")
    film.hold(500)
    film.type("output_tokens")
    page.keyboard.press("Control+Enter")
    cell.get_by_text("generation 2").wait_for()
    page.mouse.move(2, 2)
    film.hold(1200)


def take(browser: Browser, theme: str) -> None:
    """Take the film in one theme, with a JupyterLab and a kernel of its own."""
    with tempfile.TemporaryDirectory(prefix="dnworker-film-") as name:
        directory = Path(name)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, directory / NOTEBOOK)
        settings = {"@jupyterlab/apputils-extension:themes": {"theme": THEMES[theme]}}
        with running_lab(directory, settings) as lab:
            page = browser.new_page(
                viewport={"width": WIDTH + AROUND[0], "height": HEIGHT + AROUND[1]},
                device_scale_factor=SCALE,
                color_scheme="dark" if theme == "dark" else "light",
            )
            open_notebook(page, lab, NOTEBOOK)
            page.add_style_tag(content=QUIET)
            film = Film(page, directory / NOTEBOOK)
            play(page, film)
            film.write(directory / "film.webp")
            shutil.copy(directory / "film.webp", DOCS / f"film-{theme}.webp")
            page.close()


def main() -> None:
    """Take both, or those whose themes are given."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for theme in sys.argv[1:] or THEMES:
            take(browser, theme)
        browser.close()


if __name__ == "__main__":
    main()
