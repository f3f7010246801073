"""Locations have the name that the newest locator knows, else file and line."""

from __future__ import annotations

from dnworker.core.locations import add_locator, known_location, location_of, remove_locator


def cells(filename, line):
    return f"cell [3], line {line}" if filename == "<cell>" else None


def test_a_location_is_named_by_a_locator_that_knows_its_file():
    add_locator(cells)
    try:
        assert location_of("<cell>", 5) == known_location("<cell>", 5) == "cell [3], line 5"
        assert location_of("demo.py", 5) == "demo.py, line 5"
        assert known_location("demo.py", 5) is None
    finally:
        remove_locator(cells)
    remove_locator(cells)
    assert location_of("<cell>", 5) == "<cell>, line 5"
