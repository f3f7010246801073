"""Writes the sections of a script as cells of under 60 lines, with headings between; used by the importer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dnworker_jupyter.importer.placement import Chunk, Section

LINES = 58
"""The most lines of a cell, without its `%%worker` line; only one longer statement has more."""


@dataclass(frozen=True)
class Piece:
    """The text of one cell."""

    text: str
    line: int
    """Where it begins in the script."""
    handler: str | None = None
    """The name of the handler, where it has one."""
    is_heading: bool = False


def pieces_of(sections: Iterable[Section]) -> list[Piece]:
    """Return the cells of a script, in their order."""
    return [piece for section in sections for piece in _pieces(section)]


def _pieces(section: Section) -> Iterator[Piece]:
    chunks = section.chunks
    handler = section.handler
    if handler is None:
        yield from _shared(chunks)
        return
    yield from _headings(handler)
    whole = [*chunks, handler]
    # A heading within a cell is none; and an export leaves out other statements, unless the cell is shared.
    is_one = all(c.is_definition for c in chunks) and not any(c.headings for c in chunks[1:])
    if not is_one or _length(whole) > LINES:
        yield from _shared(chunks)
        whole = [handler]
    elif chunks:
        yield from _headings(chunks[0])
    yield Piece(_text(whole), whole[0].line, handler.handler)


def _shared(chunks: Sequence[Chunk]) -> Iterator[Piece]:
    waiting: list[Chunk] = []
    for chunk in chunks:
        ends_imports = bool(waiting) and all(c.is_import for c in waiting) and not chunk.is_import
        is_full = _length([*waiting, chunk]) > LINES
        if waiting and (chunk.headings or is_full or (ends_imports and chunk.is_definition)):
            yield Piece(_text(waiting), waiting[0].line)
            waiting = []
        yield from _headings(chunk)
        waiting.append(chunk)
    if waiting:
        yield Piece(_text(waiting), waiting[0].line)


def _headings(chunk: Chunk) -> Iterator[Piece]:
    for heading in chunk.headings:
        yield Piece(f"### {heading}", chunk.line, is_heading=True)


def _length(chunks: Sequence[Chunk]) -> int:
    return _text(chunks).count("\n") + 1


def _text(chunks: Sequence[Chunk]) -> str:
    """Return statements as text: definitions apart, others below each other as in the script."""
    text = ""
    before: Chunk | None = None
    for chunk in chunks:
        if before is not None:
            is_apart = chunk.is_definition or before.is_definition or chunk.handler is not None
            text += "\n\n\n" if is_apart else "\n\n" if chunk.is_apart else "\n"
        text += "\n".join(chunk.lines)
        before = chunk
    return text
