"""Finds the installed distributions that have a top-level module; used by requirements and the importer."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import packages_distributions


def distributions_by_module() -> Mapping[str, Sequence[str]]:
    """Return the names of the distributions of every top-level module that is installed.

    Reading all metadata takes long where distributions have thousands of files, so the answer is kept until
    a directory of `sys.path` changes: an installation adds or removes a directory there. This is how
    `importlib.metadata` itself notices new distributions.
    """
    return _read(tuple((entry, _modified(entry)) for entry in sys.path))


@lru_cache(maxsize=2)
def _read(path: tuple[tuple[str, int | None], ...]) -> Mapping[str, Sequence[str]]:
    return packages_distributions()


def _modified(entry: str) -> int | None:
    try:
        return os.stat(entry or ".").st_mtime_ns  # noqa: PTH116  an entry may be any text
    except (OSError, ValueError):
        return None
