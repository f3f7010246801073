"""Reads the comments of a script: banners, which become headings, and those that a rewritten line loses."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, field

_RULE = re.compile(r"#{4,}|#+\s*([-=#*~_─━═])(?:\s*\1){2,}")
"""A line of a banner without words."""
_BANNER = re.compile(
    r"#+\s*(?:([-=#*~─━═])\1+\s*(\S.*?)\s*\1{2,}#*|([-=*~─━═])\3{2,}\s+(\S.*?)|%%\s+(\S.*?))"
)
_HASHES = re.compile(r"##+\s+(\S.*?)\s*#*")
_LONGEST = 60
"""Characters of a title that only hashes mark; what is longer, or is a sentence, is a comment."""
_DIRECTIVE = re.compile(r"#\s*(?:noqa|type:|pragma|pylint|ruff|mypy|fmt:|isort|nosec|pyright|ty:)")

_OURS = "# loaded by a runtime, in-process"
"""What an export writes beside an import that works in both topologies."""


@dataclass(frozen=True)
class Above:
    """The lines between two statements: headings, and what stays code."""

    headings: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass
class _Reading:
    headings: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def read_above(lines: Sequence[str]) -> Above:
    """Take banners out of the lines between two statements; all other comments stay."""
    found = _Reading()
    number = 0
    while number < len(lines):
        line = lines[number].strip()
        if _RULE.fullmatch(line):
            number = _read_box(lines, number, found)
            continue
        title = _title(line) if not lines[number][:1].isspace() else None
        if title is not None:
            found.headings.append(title)
        else:
            found.lines.append(lines[number])
        number += 1
    return Above(tuple(found.headings), tuple(_without_edges(found.lines)))


def _read_box(lines: Sequence[str], first: int, found: _Reading) -> int:
    """Read what follows a rule: a title, and text, up to the next rule; returns where to go on."""
    end = first + 1
    while end < len(lines) and lines[end].startswith("#") and not _RULE.fullmatch(lines[end].strip()):
        end += 1
    inside = [line for line in lines[first + 1 : end] if line.strip("# \t")]
    is_closed = end < len(lines) and _RULE.fullmatch(lines[end].strip()) is not None
    if inside and (is_closed or len(inside) == 1):
        title, *text = (_title(line.strip()) or line.strip("# \t") for line in inside)
        found.headings.append("\n\n".join([title, "\n".join(text)] if text else [title]))
    else:
        found.lines += inside
    return end + 1 if is_closed else end


def _title(comment: str) -> str | None:
    """Return the words of a comment that is a banner of one line; None for any other comment."""
    match = _BANNER.fullmatch(comment)
    if match is not None:
        return match[2] or match[4] or match[5]
    match = _HASHES.fullmatch(comment)
    is_title = match is not None and len(match[1]) <= _LONGEST and match[1][-1] not in ".,;:"
    return match[1] if match is not None and is_title else None


def _without_edges(lines: Sequence[str]) -> list[str]:
    """Return lines without blank lines around them, and with one between."""
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).strip("\n")
    return text.split("\n") if text else []


def lost_comments(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Return the comments of lines that are not in the lines that they became, each as a line of its own.

    What only tools read, such as `# noqa`, goes with the code that it is about.
    """
    kept = comments_of(after)
    return [c for c in comments_of(before) if c not in kept and not _DIRECTIVE.match(c) and c != _OURS]


def comments_of(lines: Sequence[str]) -> list[str]:
    """Return the comments of a part of a script that is whole statements."""
    text = "\n".join(lines) + "\n"
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):  # such as the indented part of a block
        return [line.strip() for line in lines if line.lstrip().startswith("#")]
    return [token.string.strip() for token in tokens if token.type == tokenize.COMMENT]
