"""Takes the picture of the README: the tutorial in a real JupyterLab, in a real browser."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lab import launch, open_notebook, run_all, running_lab
from playwright.sync_api import sync_playwright

PROJECT = Path(__file__).parent.parent
PICTURE = PROJECT / "docs" / "panel.png"
TUTORIAL = "01-quickstart.ipynb"


def main() -> None:
    """Run the tutorial and photograph the part with trace, panel and changed worker."""
    directory = Path(tempfile.mkdtemp(prefix="dnworker-screenshot-"))
    try:
        shutil.copy(PROJECT / "notebooks" / TUTORIAL, directory)
        with running_lab(directory) as lab, sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page(viewport={"width": 1180, "height": 860}, device_scale_factor=1.5)
            open_notebook(page, lab, TUTORIAL)
            run_all(page)
            page.locator(".dnw-panel").get_by_text("wrote 14 tokens").wait_for()
            page.locator(".jp-CodeCell", has_text="%fire turn.completed turn_id").first.evaluate(
                "cell => cell.scrollIntoView({block: 'start'})"
            )
            page.mouse.move(2, 2)
            page.screenshot(path=PICTURE)
            browser.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(PICTURE.relative_to(PROJECT))


if __name__ == "__main__":
    main()
