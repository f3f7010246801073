"""A JupyterLab of our own and a browser to look at it: for the browser tests and the screenshots."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

START_LIMIT = 300.0
STOP_LIMIT = 60.0
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Settings of the front end that make it say nothing of its own accord.
OVERRIDES = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    token: str
    directory: Path

    def notebook_url(self, name: str) -> str:
        """Return the address that opens a notebook, and nothing else."""
        return f"{self.url}/doc/tree/{name}?token={self.token}"


@contextmanager
def running_lab(directory: Path, settings: Mapping[str, Mapping[str, object]] | None = None) -> Iterator[Lab]:
    """Serve `directory` with JupyterLab on a free port of loopback, ended by its process id.

    It looks for another port where somebody took that one meanwhile, and its own file tells which it has.

    Args:
        directory: the root of its files; what it writes itself goes into `.lab` there.
        settings: of plugins, by their ids; those of `OVERRIDES` hold besides.
    """
    token = secrets.token_hex(16)
    config = directory / ".lab"
    (config / "labconfig").mkdir(parents=True, exist_ok=True)
    (config / "labconfig" / "default_setting_overrides.json").write_text(
        json.dumps({**OVERRIDES, **(settings or {})})
    )
    environment = {
        **os.environ,
        "HOME": str(config),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(config / "data"),
        "JUPYTER_RUNTIME_DIR": str(config / "runtime"),
        "IPYTHONDIR": str(config / "ipython"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={_free_port()}",
        "--ip=127.0.0.1", "--ServerApp.port_retries=50", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={directory}",
        "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    log = (config / "lab.log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        port = port_of(process, config, config / "lab.log")
        yield Lab(f"http://127.0.0.1:{port}", token, directory)
    finally:
        _end(process)
        log.close()


@dataclass(frozen=True)
class Served:
    """A running `dnworker serve`."""

    url: str
    token_file: Path
    process: subprocess.Popen[str]

    def ticket_url(self) -> str:
        """Return the address that opens the panel once, as `dnworker panel` does."""
        command = [sys.executable, "-m", "dnworker", "panel", "--no-browser", "--url", self.url]
        done = subprocess.run(
            [*command, "--token-file", str(self.token_file)], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()


@contextmanager
def running_serve(*paths: Path, home: Path, port: int = 0) -> Iterator[Served]:
    """Serve capabilities on a port of loopback, ended by the process id."""
    token_file = home / "token"
    command = [sys.executable, "-m", "dnworker", "serve", *map(str, paths), "--json", f"--port={port}"]
    process = subprocess.Popen(
        [*command, "--token-file", str(token_file)],
        env={**os.environ, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Served(json.loads(process.stdout.readline())["url"], token_file, process)
    finally:
        _end(process)
        process.stdout.close()


def launch(playwright: Any) -> Browser:
    """Start the machine's own Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise FileNotFoundError("no Chromium on the PATH; on Debian: apt-get install chromium")
    browser: Browser = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
    return browser


def open_notebook(page: Page, lab: Lab, name: str) -> None:
    """Open a notebook and wait until its kernel is ready."""
    page.goto(lab.notebook_url(name))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=240_000)
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").first.wait_for(timeout=240_000)


def until_connected(page: Page, lab: Lab, name: str) -> None:
    """Wait until the kernel of a notebook is idle and its page is connected to it.

    Before that, a front end that is told to run cells asks for a kernel, cell by cell, and starts a new one
    for each answer. Its indicator says `idle` from the beginning; the server knows better.
    """
    url = f"{lab.url}/api/sessions?token={lab.token}"
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        kernels = [one["kernel"] for one in page.request.get(url).json() if one["path"] == name]
        if any(one["connections"] and one["execution_state"] == "idle" for one in kernels):
            return
        page.wait_for_timeout(100)  # nothing on the page tells
    raise TimeoutError(f"no kernel of {name} was connected within {START_LIMIT:g} s: {kernels}")


def run_all(page: Page) -> None:
    """Run every cell, and wait until the last has run; a failure tells what the page showed.

    On a slow machine a front end that is not connected yet asks for a kernel, before the first cell or
    after it, or drops what it was told to run: with any notebook, not only with ours.
    """
    from playwright.sync_api import TimeoutError as NotInTime

    last = has_run(page.locator(".jp-Notebook .jp-CodeCell").last)
    waiting = page.locator(".jp-InputPrompt", has_text="[*]")
    dialog = page.locator(".jp-Dialog", has_text="Select Kernel")
    for attempt in range(3):
        # It may stand before the menu already: then it is answered before anything is clicked, and again when
        # it did not know the kernels yet and stays.
        page.add_locator_handler(
            dialog,
            lambda shown: shown.get_by_role("button", name="Select Kernel").click(),
            no_wait_after=True,
        )
        try:
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            page.remove_locator_handler(dialog)
            while not last.is_visible():
                dialog.or_(last).first.wait_for(timeout=120_000)
                if dialog.is_visible():
                    dialog.get_by_role("button", name="Select Kernel").click(timeout=120_000)
                    dialog.wait_for(state="hidden", timeout=120_000)
            return
        except NotInTime as exc:
            if attempt == 2 or waiting.count():  # a cell that hangs is a failure, and not the front end's
                exc.add_note(f"the page shows: {page.locator('body').inner_text()}")
                raise


def has_run(cell: Locator) -> Locator:
    """Return what is there once a cell has run: its prompt with a number."""
    return cell.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[\d+\]"))


def port_of(process: subprocess.Popen[bytes], place: Path, log: Path) -> int:
    """Wait until a Jupyter server answers, and return its port, which it writes into a file below `place`.

    Raises:
        RuntimeError: it ended or did not start in time; the end of its log is told.
    """
    deadline = time.monotonic() + START_LIMIT
    while True:
        try:
            file = next(place.rglob(f"jpserver-{process.pid}.json"), place)
            url = json.loads(file.read_text(encoding="utf-8"))["url"]
            with urllib.request.urlopen(f"{url}api", timeout=START_LIMIT):
                return int(urllib.parse.urlsplit(url).port or 0)
        except (OSError, ValueError):  # no file yet, half of one, or nobody listens yet
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.1)  # nothing tells when another process listens


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
