"""`markdown_html`: a small part of Markdown as HTML in which all text is escaped; used by `forms`.

Headings, emphasis, code, lists, tables, quotes and paragraphs; anything else stays as it was written. Of
links and pictures the text is shown, with the address behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_ITEM = re.compile(r"\s*(?:[-*+]|(\d{1,9})[.)])\s+(.*)$")
_RULE = re.compile(r"\s*(?:-{3,}|\*{3,}|_{3,})\s*$")
_DIVIDER = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,500})\]\(([^()\s]{0,2000})\)")
_STRONG = re.compile(r"(\*\*|__)(?=\S)([^\n]{1,2000}?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*])([*_])(?=\S)([^\n*_]{1,2000})(?<=\S)\1(?![\w*])")


def markdown_html(text: str) -> str:
    """Return the text as HTML; linear in its length, as far as the lines are not longer than 10,000."""
    return "\n".join(_blocks(text.replace("\r\n", "\n").split("\n")))


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith(("```", "~~~")):
            fence = line.lstrip()[:3]
            end = next(
                (n for n in range(at + 1, len(lines)) if lines[n].lstrip().startswith(fence)), len(lines)
            )
            yield f"<pre><code>{escape(chr(10).join(lines[at + 1 : end]))}</code></pre>"
            at = end + 1
        elif heading := _HEADING.match(line):
            level = len(heading[1])
            yield f"<h{level}>{_inline(heading[2])}</h{level}>"
            at += 1
        elif _RULE.match(line):
            yield "<hr>"
            at += 1
        elif "|" in line and at + 1 < len(lines) and "-" in lines[at + 1] and _DIVIDER.match(lines[at + 1]):
            end = _end_of(lines, at + 2, lambda one: "|" in one)
            yield _table(line, lines[at + 2 : end])
            at = end
        elif item := _ITEM.match(line):
            end = _end_of(lines, at, lambda one: _ITEM.match(one) is not None)
            tag = "ul" if item[1] is None else "ol"
            items = [found[2] for one in lines[at:end] if (found := _ITEM.match(one))]
            yield f"<{tag}>{''.join(f'<li>{_inline(one)}</li>' for one in items)}</{tag}>"
            at = end
        elif line.startswith(">"):
            end = _end_of(lines, at, lambda one: one.startswith(">"))
            quoted = " ".join(one[1:].strip() for one in lines[at:end])
            yield f"<blockquote>{_inline(quoted)}</blockquote>"
            at = end
        elif not line.strip():
            at += 1
        else:
            end = _end_of(lines, at + 1, _goes_on)
            yield f"<p>{_inline(chr(10).join(lines[at:end]))}</p>"
            at = end


def _end_of(lines: list[str], start: int, belongs: object) -> int:
    """Return where the lines end that belong together."""
    assert callable(belongs)
    return next((n for n in range(start, len(lines)) if not belongs(lines[n])), len(lines))


def _goes_on(line: str) -> bool:
    """Return whether a line goes on with the paragraph before it."""
    begins = line.lstrip().startswith(("```", "~~~", ">"))
    return bool(line.strip()) and not begins and not _HEADING.match(line) and not _ITEM.match(line)


def _table(head: str, rows: list[str]) -> str:
    def cells(line: str, tag: str) -> str:
        found = line.strip().strip("|").split("|")
        return f"<tr>{''.join(f'<{tag}>{_inline(one.strip())}</{tag}>' for one in found)}</tr>"

    body = "".join(cells(row, "td") for row in rows)
    return f"<table><thead>{cells(head, 'th')}</thead><tbody>{body}</tbody></table>"


def _inline(text: str) -> str:
    """Return the text of a block as HTML; what is between backticks stays as it is."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # the last backtick has no partner
        pieces[-2:] = ["`".join(pieces[-2:])]
    return "".join(
        f"<code>{escape(piece)}</code>" if number % 2 else _emphasized(piece)
        for number, piece in enumerate(pieces)
    )


def _emphasized(text: str) -> str:
    text = escape(_LINK.sub(lambda found: f"{found[1]} ({found[2]})" if found[2] else found[1], text))
    text = _STRONG.sub(r"<strong>\2</strong>", text)
    return _EMPHASIS.sub(r"<em>\2</em>", text)
