"""The page of the panel's keys, from the table that the panel itself shows for `?`."""

from __future__ import annotations

import re
from pathlib import Path

from .markdown import items, page, sentence

SOURCE = Path(__file__).parents[2] / "dnworker" / "panel" / "static" / "shell" / "keys.js"

ABOUT = """
The keys of [the panel](panel.md), by where they work. In the panel `?` shows the same list. On a Mac, ⌘ takes the place of Ctrl.

Tab moves through all controls in reading order. Keys that are typed in the panel do not reach the notebook's shortcuts.
"""


def keys() -> str:
    """Return the page."""
    sections = [
        f"## {title}\n\n" + items(f"{_kbd(key)}: {sentence(does)}" for key, does in rows)
        for title, rows in table().items()
    ]
    return page("`dnworker/panel/static/shell/keys.js`", "Keys", ABOUT, *sections)


def table() -> dict[str, list[tuple[str, str]]]:
    """Return the groups of keys with what each does.

    Raises:
        ValueError: the file has no table of the form that it had.
    """
    found = re.search(
        r"^const KEYS = \[\n(.*?)^\];$", SOURCE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise ValueError(f"{SOURCE} has no table KEYS")
    groups: dict[str, list[tuple[str, str]]] = {}
    for title, rows in re.findall(
        r'^    "([^"]+)",\n    \[\n(.*?)^    \],$', found[1], re.MULTILINE | re.DOTALL
    ):
        pairs = re.findall(r'\[["`]([^"`]+)["`], "([^"]+)"\]', rows)
        if len(pairs) != len(rows.strip().splitlines()):
            raise ValueError(f"{SOURCE}: a row of {title!r} has another form than [key, what it does]")
        groups[title] = [(key.replace("${CONTROL}", "Ctrl"), does) for key, does in pairs]
    return groups


def _kbd(key: str) -> str:
    return " or ".join(" ".join(f"`{one}`" for one in part.split()) for part in key.split(" or "))
