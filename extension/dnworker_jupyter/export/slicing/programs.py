"""Reads cells that are programs: their file, and the words that start it; used by planning and magics."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnworker_jupyter.syntax.options import WorkerLine


def program_file(line: WorkerLine) -> PurePosixPath:
    """Return the path of a program's file in its capability."""
    return PurePosixPath(line.options.file or f"workers/{line.name}")


def has_file(body: str) -> bool:
    """Tell whether a program has a file: comments alone are none, and `CMD` is all there is then."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in body.splitlines())


def command_words(words: list[str], file: str) -> list[str]:
    """Return the words that start a program: its file stands for `{file}`, or comes last."""
    if any("{file}" in word for word in words):
        return [word.replace("{file}", file) for word in words]
    return [*words, file]
