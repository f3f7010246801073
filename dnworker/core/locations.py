"""What people call a place in code: `cell [3], line 5` in a notebook, `file, line 5` elsewhere."""

from __future__ import annotations

from collections.abc import Callable

Locate = Callable[[str, int], str | None]
"""Turns a code's file name and line into the name of the place, or None if it does not know the file."""

_locators: list[Locate] = []


def add_locator(locate: Locate) -> None:
    """Ask `locate` first from now on; the notebook does this for its cells."""
    _locators.insert(0, locate)


def remove_locator(locate: Locate) -> None:
    """Ask it no longer."""
    if locate in _locators:
        _locators.remove(locate)


def located(filename: str, line: int) -> str | None:
    """Return the place's name if a locator knows the file."""
    return next((place for locate in _locators if (place := locate(filename, line)) is not None), None)


def location_of(filename: str, line: int) -> str:
    """Return what people call this place."""
    return located(filename, line) or f"{filename}, line {line}"
