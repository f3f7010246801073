"""The files of a plan by their paths, each with one owner; used by the steps of planning."""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePosixPath

from dnworker_jupyter.export.slicing.problems import ExportProblem

VENDOR = "vendor"
"""The directory of wheels in an export."""

LOCK = ".lock"
"""What uv appends to the path of a script for the path of its lock."""


@lru_cache(maxsize=256)
def _check(text: str, path: str) -> None:
    """Raise SyntaxError where a text is no Python; of an export that is planned again it is known."""
    compile(text, path, "exec", dont_inherit=True)


class Files(dict[str, bytes]):
    """The files of a plan by their paths; two files with one path are kept as a problem."""

    def __init__(self) -> None:
        super().__init__()
        self.collisions: list[ExportProblem] = []
        self._owners: dict[str, str] = {}

    def put(self, path: str, data: bytes, owner: str) -> None:
        """Add a file; a second owner of its path, or a file in the place of a directory, is a collision."""
        known = self._owners.get(path)
        above = [parent.as_posix() for parent in PurePosixPath(path).parents]
        other = next((p for p in self._owners if p in above or p.startswith(f"{path}/")), None)
        if known is not None and (known != owner or self[path] != data):
            self._collide(path, owner, f"would be written over {known}")
        elif other is not None:
            self._collide(path, owner, f"cannot be there beside {other}, which is {self._owners[other]}")
        self._owners[path] = owner
        self[path] = data

    def put_python(self, path: str, text: str, owner: str) -> None:
        """Add a file of Python.

        Raises:
            SyntaxError: the text is not valid Python, which is a fault of the exporter.
        """
        _check(text, path)
        self.put(path, text.encode(), owner)

    def _collide(self, path: str, owner: str, why: str) -> None:
        remedy = "give the worker a --file of its own, or another name"
        self.collisions.append(ExportProblem(path, f"{owner} {why}", remedy))
