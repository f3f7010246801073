"""`progress` shows at a terminal what long work does, by rich; elsewhere it shows nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dnworker.cli.text import printable


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give a function that takes what is done next, as a sentence's part; the line is gone at the end.

    What is printed meanwhile stands above that line. Standard output is left alone.
    """
    if not sys.stderr.isatty():
        yield _nothing
        return
    try:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    except ModuleNotFoundError:
        yield _nothing
        return
    text = TextColumn("{task.description}", markup=False)
    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (SpinnerColumn(), text, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as shown:
        task = shown.add_task("", total=None)
        yield lambda doing: shown.update(task, description=printable(doing), refresh=True)


def _nothing(doing: str) -> None: ...
