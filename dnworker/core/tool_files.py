"""`ToolText`: a tool's answer as text, with the images that models may look at beside it.

Servers of MCP answer so; scripts, events and transcripts have the text alone, which says what the files are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import msgspec

LARGEST_FILES = 3 * 1_048_576
"""Bytes of all files of one answer."""

MOST_FILES = 20
"""Files of one answer."""


class ToolFile(msgspec.Struct, frozen=True):
    """One image; `media_type` is such as `image/png`."""

    media_type: str
    data: bytes


class ToolText(str):
    """The text of an answer, and its files."""

    __slots__ = ("files",)

    files: tuple[ToolFile, ...]

    def __new__(cls, text: str, files: Sequence[ToolFile] = ()) -> Self:
        """Make one."""
        made = super().__new__(cls, text)
        made.files = tuple(files)
        return made


def files_of(text: str) -> tuple[ToolFile, ...]:
    """Return the files of an answer."""
    return text.files if isinstance(text, ToolText) else ()


def image_type(data: bytes) -> str | None:
    """Return the type of an image that models take, by its first bytes; None where it is none."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None
