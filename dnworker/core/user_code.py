"""Tells the user's code from that of libraries and from ours; errors, owners and the watchdog ask."""

from __future__ import annotations

import os
import site
from functools import cache, lru_cache

OURS = frozenset({"dnworker", "dnworker_jupyter"})

NOT_THEIRS = OURS | {"importlib", "asyncio", "threading", "concurrent"}
"""Modules that run what the user wrote: how they came to do so is not told."""


@cache
def _library_paths() -> tuple[str, ...]:
    import sysconfig  # reads a large file, and most starts ask for no path

    found = [
        *map(sysconfig.get_path, ("purelib", "platlib", "stdlib", "platstdlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    ]
    return tuple(dict.fromkeys(f"{path.rstrip(os.sep)}{os.sep}" for path in found if path))


_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_FROZEN = "<frozen "


@lru_cache(maxsize=2_000)
def place_in_library(file: str) -> str | None:
    """Return what a file is called within the libraries, such as `json/decoder.py`; None for the user's.

    Cells, files of capabilities and whatever else is in no directory of libraries are the user's.
    """
    if file.startswith(_FROZEN):
        return file[len(_FROZEN) : -1]
    for name in _PACKAGES:  # of any environment: those of `uv run --with` are in several
        if name in file:
            return file.rpartition(name)[2]
    longest = max((path for path in _library_paths() if file.startswith(path)), key=len, default=None)
    return None if longest is None else file[len(longest) :]


def is_library(file: str) -> bool:
    """Return whether a file belongs to Python or to something installed."""
    return place_in_library(file) is not None


def library_of(place: str) -> str:
    """Return the name of the library that a place within the libraries belongs to, such as `json`."""
    first = place.replace("\\", "/").partition("/")[0].partition(".")[0]
    return first or place
