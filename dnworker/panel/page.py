"""`PanelPage`: the files and the feed of the page that a server shows; `Runtime` makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnworker.panel.feed import Channel, Feed


class PanelPage:
    """The files of the page, and what it shows.

    Args:
        feed: returns the source of the views; called when a browser connects.
    """

    def __init__(self, feed: Callable[[], Feed]) -> None:
        self._feed = feed

    def file(self, name: str) -> str:
        """Return the text of one of its files; `panel.js` and `panel.css` are joined of many."""
        from dnworker.panel import assets  # only where somebody opens the page

        if name == "panel.js":
            return assets.module()
        if name == "panel.css":
            return assets.style()
        return (assets.STATIC / name).read_text(encoding="utf-8")

    def connect(self, send: Callable[[dict[str, Any]], None]) -> Channel:
        """Open a channel for the views of one browser; `send` is called with every message to it."""
        return self._feed().connect(send)
