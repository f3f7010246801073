"""The generated pages, each with what makes its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import command_line, config_file, events, http_api, keys, limits, magics, man_page, python_api, turns

DOCS = Path(__file__).parents[2] / "docs"
WRITE = "python -m scripts.reference"
"""The command that writes the pages."""

MAN = "../man/dnworker.1"
"""The manual page; no page of the site."""

PAGES: dict[str, Callable[[], str]] = {
    "reference/python.md": python_api.python,
    "reference/client.md": python_api.client,
    "reference/patterns.md": python_api.patterns,
    "reference/testing.md": python_api.testing,
    "reference/notebook-api.md": python_api.notebook,
    "reference/magics.md": magics.magics,
    "reference/command-line.md": command_line.command_line,
    "reference/config-file.md": config_file.config_file,
    "reference/events.md": events.events,
    "reference/turns.md": turns.turns,
    "reference/http-api.md": http_api.http_api,
    "reference/limits.md": limits.limits,
    "reference/keys.md": keys.keys,
    MAN: man_page.man_page,
}


def place_of(name: str) -> Path:
    """Return where a page is written."""
    return (DOCS / name).resolve()


def made(name: str) -> str:
    """Return the text that a page is to have."""
    return PAGES[name]()
