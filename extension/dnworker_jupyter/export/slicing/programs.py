"""Reads cells that are programs: their file and their command line; used by planning and magics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.syntax.options import Options, WorkerLine


@dataclass(frozen=True)
class Program:
    """A worker in any language, `%%worker NAME --command CMD`, and the text of its file."""

    name: str
    command: str
    options: Options
    body: str

    @property
    def file(self) -> str | None:
        """The path of its file in the capability; None where it has no file."""
        return _path(self.options, self.name) if has_file(self.body) else None


def programs_in(cells: Iterable[SourceCell]) -> dict[str, Program]:
    """Return the programs that cells define, by name; of one name the last counts."""
    return {
        cell.line.name: Program(cell.line.name, cell.line.command, cell.line.options, cell.body)
        for cell in cells
        if cell.line is not None and cell.line.command is not None
    }


def program_file(line: WorkerLine) -> PurePosixPath:
    """Return the path of a program's file in its capability."""
    return PurePosixPath(_path(line.options, line.name))


def _path(options: Options, name: str) -> str:
    return PurePosixPath(options.file or f"workers/{name}").as_posix()


def has_file(body: str) -> bool:
    """Return whether a program has a file; a body of comments alone is only a command."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in body.splitlines())


def command_words(words: list[str], file: str) -> list[str]:
    """Return the words that start a program: its file stands for `{file}`, or comes last."""
    if any("{file}" in word for word in words):
        return [word.replace("{file}", file) for word in words]
    return [*words, file]
