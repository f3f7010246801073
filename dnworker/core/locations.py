"""Names a location in code: `cell [3], line 5` in a notebook, `file, line 5` elsewhere.

Used wherever an error, a handler or a blocked loop is shown.
"""

from __future__ import annotations

import functools
import site
import sysconfig
from collections.abc import Callable

Locate = Callable[[str, int], str | None]
"""Returns the name of the location in a file, by line; None for a file that it does not know."""

_locators: list[Locate] = []


@functools.cache
def _libraries() -> tuple[str, ...]:
    paths = map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))
    return tuple(dict.fromkeys([*paths, *site.getsitepackages(), "<frozen "]))


def is_library(filename: str) -> bool:
    """Return whether a file is of Python or of an installed package."""
    return filename.startswith(_libraries())


def add_locator(locate: Locate) -> None:
    """Call `locate` before all others from now on; a notebook adds one for its cells."""
    _locators.insert(0, locate)


def remove_locator(locate: Locate) -> None:
    """Call `locate` no longer; harmless when it was not added."""
    if locate in _locators:
        _locators.remove(locate)


def known_location(filename: str, line: int) -> str | None:
    """Return the location's name if a locator knows the file."""
    return next((found for locate in _locators if (found := locate(filename, line)) is not None), None)


def location_of(filename: str, line: int) -> str:
    """Return the location's name, in any file."""
    return known_location(filename, line) or f"{filename}, line {line}"
