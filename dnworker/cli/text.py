"""What goes to a terminal: text, whatever a worker or an event says."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text that cannot drive the terminal: control characters are shown, but for line breaks."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
