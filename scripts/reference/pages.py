"""The generated pages, each with what makes its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import command_line, config_file, events, http_api, keys, limits, magics, python_api, turns

DOCS = Path(__file__).parents[2] / "docs"
WRITE = "python -m scripts.reference"
"""The command that writes the pages."""

PAGES: dict[str, Callable[[], str]] = {
    "reference/python.md": python_api.python,
    "reference/client.md": python_api.client,
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
}


def made(name: str) -> str:
    """Return the text that a page is to have."""
    return PAGES[name]()
