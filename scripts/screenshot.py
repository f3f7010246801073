"""Takes the pictures of the docs: the tutorial in a real JupyterLab, the panel on the page of `serve`."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from debugger import CELLS, at_the_stop, turn_on
from lab import launch, open_notebook, run_all, running_lab, running_serve
from playwright.sync_api import Browser, Page, sync_playwright

PROJECT = Path(__file__).parent.parent
DOCS = PROJECT / "docs" / "images"
TUTORIAL = "01-quickstart.ipynb"

SHOP = {
    "capability.yaml": """
schema: 1
name: shop
version: 1.2.0
description: Counts what is sold
flags:
  mail: {description: send a mail for every sale, default: false}
checks:
  - {name: python, command: python3 --version}
workers:
  till: {path: till.py}
  mail: {path: mail.py, when: [mail]}
""",
    "till.py": """
import asyncio
from dnworker import Worker

worker = Worker(name="till")


@worker.on_event("shop.sale")
async def on_sale(event, client):
    print("\\x1b[36msale\\x1b[0m of", event.payload["item"])
    await asyncio.sleep(0.02)
    await client.publish("shop.counted", {"total": event.payload["price"] * event.payload["count"]})


@worker.on_event("shop.counted")
async def on_counted(event, client):
    await asyncio.sleep(0.04)
    print("total", event.payload["total"])


@worker.every(minutes=15)
async def report(client):
    print("reported")
""",
    "mail.py": "from dnworker import Worker\n\nworker = Worker(name='mail')\n",
}
SALES = ['{"item": "tea", "price": 3, "count": 2}', '{"item": "cup", "price": 7, "count": null}']


def tutorial(browser: Browser, directory: Path) -> None:
    """Photograph the part of the tutorial with trace, panel and changed worker."""
    shutil.copy(PROJECT / "notebooks" / TUTORIAL, directory)
    with running_lab(directory) as lab:
        page = browser.new_page(viewport={"width": 1180, "height": 1000}, device_scale_factor=1.5)
        open_notebook(page, lab, TUTORIAL)
        run_all(page)
        page.locator(".jp-CodeCell", has_text="%fire session.created").first.evaluate(
            "cell => cell.scrollIntoView({block: 'start'})"
        )
        panel = page.locator(".dn")  # what nobody sees is sent nothing
        panel.get_by_text("wrote 14 tokens").wait_for()
        panel.get_by_text("Nobody listens").filter(visible=True).first.wait_for()  # the busiest flows
        page.mouse.move(2, 2)
        page.screenshot(path=DOCS / "panel.png")
        page.close()


def debugger(browser: Browser, directory: Path) -> None:
    """Photograph JupyterLab's debugger, stopped in a handler."""
    import nbformat

    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, directory / "debugging.ipynb")
    with running_lab(directory) as lab:
        page = browser.new_page(viewport={"width": 1180, "height": 640}, device_scale_factor=1.5)
        open_notebook(page, lab, "debugging.ipynb")
        turn_on(page)
        at_the_stop(page)
        page.mouse.move(2, 2)
        page.screenshot(path=DOCS / "debugging-lab.png")
        page.close()


def served(browser: Browser, directory: Path) -> None:
    """Photograph the page of a served capability with a failed run: light, the workers dark."""
    root = directory / "shop"
    root.mkdir()
    for name, text in SHOP.items():
        (root / name).write_text(text.lstrip())
    with running_serve(root, home=directory) as server:
        for name, is_dark, show in (
            ("panel-runs.png", False, _show_failed_run),
            ("panel-workers.png", True, _show_worker),
            ("panel-map.png", False, _show_map),
        ):
            context = browser.new_context(
                viewport={"width": 1440, "height": 860},
                device_scale_factor=1.5,
                color_scheme="dark" if is_dark else "light",
            )
            page = context.new_page()
            page.goto(server.ticket_url())
            page.locator(".dn").get_by_text("1 running", exact=True).wait_for()
            _photograph(page, name, show)
            context.close()


def _photograph(page: Page, name: str, show: Callable[[Page], None]) -> None:
    show(page)
    page.mouse.move(2, 2)
    page.locator(".toast").wait_for(state="detached")
    page.screenshot(path=DOCS / name)


def _show_failed_run(page: Page) -> None:
    page.get_by_role("button", name="Fire event").click()
    drawer = page.get_by_role("complementary", name="Fire event")
    for number, payload in enumerate(SALES, start=1):
        drawer.get_by_role("combobox", name="Kind").fill("shop.sale")
        drawer.get_by_role("textbox", name="Payload").fill(payload)
        drawer.get_by_role("button", name="Fire shop.sale", exact=True).click()
        drawer.get_by_role("button", name="Fire shop.sale again").nth(number - 1).wait_for()
    drawer.get_by_role("button", name="Close (Esc)").click()
    page.get_by_role("tab", name="Overview").click()
    page.get_by_role("region", name="Failures").get_by_role("button", name="Show the event").click()
    run = page.get_by_role("region", name=re.compile(r"^Run #\d+"))
    run.get_by_text("TypeError").first.wait_for()
    run.get_by_text("Payload #").first.wait_for()


def _show_worker(page: Page) -> None:
    page.get_by_role("tab", name="Workers").click()
    page.get_by_role("row").filter(has_text="till").last.click()
    drawer = page.get_by_role("complementary", name="shop:till")
    drawer.get_by_role("region", name="Handlers").get_by_text("shop.sale").wait_for()
    drawer.get_by_role("region", name="Generations").wait_for()


def _show_map(page: Page) -> None:
    page.get_by_role("tab", name="Map").click()
    page.get_by_role("tabpanel", name="map").get_by_role("button", name="till").first.click()


def main() -> None:
    """Take all of them, or those whose names are given: tutorial, served, debugger."""
    wanted = sys.argv[1:] or ["tutorial", "served", "debugger"]
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for name, take in (("tutorial", tutorial), ("served", served), ("debugger", debugger)):
            if name in wanted:
                with tempfile.TemporaryDirectory(prefix="dnworker-screenshot-") as directory:
                    take(browser, Path(directory))
        browser.close()
    for picture in sorted(DOCS.glob("*.png")):
        print(picture.relative_to(PROJECT))


if __name__ == "__main__":
    main()
