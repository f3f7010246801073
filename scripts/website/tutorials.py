"""Runs the tutorials, and makes pages of them with what their cells answered.

Each runs in a home and a directory of its own. A run is kept in .build and used again until the notebook or
the product changes: so `make docs` is quick where only pages have changed.
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import os
import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from .notebook_page import page_of
from .pages import DOCS, PROJECT
from .surroundings import reproducible

NOTEBOOKS = PROJECT / "notebooks"
RUNS = PROJECT / ".build" / "tutorials"
PAGES = DOCS / "start" / "tutorials"
AT_A_TIME = 2
DIGITS = 16
"""Of the hash in the name of a run."""
OF_KERNEL = ("ipykernel", "anywidget")
"""The packages whose versions show in what cells answer."""
CELL_LIMIT = 120
"""Seconds for one cell."""
LIMIT = 300.0
"""Seconds for one notebook."""


class TutorialError(Exception):
    """A tutorial did not run to its end."""


def build() -> None:
    """Make the pages of all tutorials, and remove those of notebooks that are gone.

    Raises:
        TutorialError: a cell failed, or took too long; the text says which.
    """
    notebooks = sorted(NOTEBOOKS.glob("*.ipynb"))
    asyncio.run(_run_all(notebooks))
    PAGES.mkdir(parents=True, exist_ok=True)
    wanted = {"index.md"}
    for path in notebooks:
        page = PAGES / f"{path.stem}.md"
        text = page_of(nbformat.read(_kept(path), as_version=4))
        if not page.exists() or page.read_text(encoding="utf-8") != text:  # `serve` follows what changes
            page.write_text(text, encoding="utf-8")
        wanted.add(page.name)
    for page in PAGES.glob("*.md"):
        if page.name not in wanted:
            page.unlink()


def _kept(path: Path) -> Path:
    return RUNS / f"{path.stem}-{_fingerprint(path)}.ipynb"


def _fingerprint(path: Path) -> str:
    """Return what a run depends on, as a hash: the notebook, both packages, Python and its kernel."""
    digest = hashlib.sha256(path.read_bytes())
    digest.update(repr((*sys.version_info, *map(version, OF_KERNEL))).encode())
    for package in (PROJECT / "dnworker", PROJECT / "extension"):
        for file in sorted(package.rglob("*")):
            if not file.is_file() or "__pycache__" in file.parts:
                continue
            digest.update(file.relative_to(PROJECT).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:DIGITS]


async def _run_all(notebooks: list[Path]) -> None:
    places = asyncio.Semaphore(AT_A_TIME)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run_once(path, places)) for path in notebooks if not _kept(path).exists()]
    failed = [problem for task in tasks if (problem := task.result()) is not None]
    if failed:
        raise TutorialError("; ".join(failed))


async def _run_once(path: Path, places: asyncio.Semaphore) -> str | None:
    """Run a notebook and keep the run; returns why it failed."""
    async with places:
        print(f"running {path.name}", flush=True)
        limit = asyncio.timeout(LIMIT)
        try:
            async with limit:
                run = await _run(path)
        except (CellExecutionError, CellTimeoutError, DeadKernelError, TimeoutError) as exc:
            if limit.expired():  # nbclient says that the kernel died, where it is cancelled
                return f"{path.name} took longer than {LIMIT:g} s"
            return f"{path.name}: {exc}"
    RUNS.mkdir(parents=True, exist_ok=True)
    for old in RUNS.glob(
        f"{glob.escape(path.stem)}-{'[0-9a-f]' * DIGITS}.ipynb"
    ):  # not those of a longer name
        old.unlink()
    with tempfile.NamedTemporaryFile("w", dir=RUNS, suffix=".part", delete=False, encoding="utf-8") as part:
        part.write(nbformat.writes(run))
    Path(part.name).replace(_kept(path))
    return None


async def _run(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="dnworker-docs-", ignore_cleanup_errors=True) as home:
        directory = Path(home, "notebooks")
        directory.mkdir()
        await _execute(notebook, directory, home)
        text = nbformat.writes(notebook)
    hidden = re.sub(rf"(?:/private)?{re.escape(home)}", "~", text)
    return nbformat.reads(hidden, as_version=4)


async def _execute(notebook: Any, directory: Path, home: str) -> None:
    """Run the cells; a kernel whose ports another process took in the meantime is started again."""
    for attempt in range(STARTS):
        client = NotebookClient(
            notebook,
            timeout=CELL_LIMIT,
            kernel_name="python3",
            resources={"metadata": {"path": str(directory)}},
        )
        try:
            await client.async_execute(env=_environment(home))
        except RuntimeError as exc:
            if attempt + 1 < STARTS and "died before replying" in str(exc):
                continue
            raise
        return


STARTS = 3
"""How often a kernel is started that ends before it answers."""


def _environment(home: str) -> dict[str, str]:
    paths = [str(PROJECT), str(PROJECT / "extension"), os.environ.get("PYTHONPATH", "")]
    return {
        **reproducible(os.environ),
        "HOME": home,
        "DNWORKER_JOURNAL": str(Path(home, "journal.db")),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
