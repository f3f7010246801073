"""Takes comments and needless white space out of scripts and style sheets; `assets` joins what is left.

What stands in strings, regular expressions and templates stays as it is, but for the indentation of
`html` templates: `htm` and browsers take any white space there for one space. Lines stay lines, as
statements may end with them.
"""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<space>[^\S\n]*\n\s*)
    |(?P<mark>[{}`/])""",
    re.VERBOSE | re.DOTALL,
)
_SPACED = re.compile(r" *([=:,;()\[\]?&|<>!*]) *")
_EXPRESSION = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*")
_TEXT = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*", re.DOTALL)
_INDENTATION = re.compile(r"[^\S\n]*\n\s*")
_BEFORE_EXPRESSION = re.compile(
    r"(?:^|[(,=:\[!&|?{;+\-*%~^<>\n]|\b(?:return|typeof|case|in|of|void|throw|await))$"
)

_IN_SHEET = re.compile(
    r"""/\*.*?\*/|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|\s*(?P<mark>[{};,])\s*|(?P<colon>:)\s+|(?P<space>\s+)""",
    re.DOTALL,
)


class _Script:
    """Goes through one script, and keeps what is needed of it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._kept: list[str] = []
        self._open: list[str | None] = []
        """The braces that are open: None for one of code, the tag of the template for one in a template."""

    def shrunk(self) -> str:
        while (found := _PIECE.search(self._source, self._at)) is not None:
            self._keep_code(self._source[self._at : found.start()])
            self._at = found.end()
            match found.lastgroup:
                case "comment":
                    self._keep("\n" if "\n" in found[0] else " ")
                case "string":
                    self._keep(found[0])
                case "space":
                    self._keep("\n")
                case _:
                    self._take(found[0])
        self._keep_code(self._source[self._at :])
        lines = "".join(self._kept).split("\0")  # what stands between two marks is kept as it is
        lines[::2] = [re.sub(r"\s*\n\s*", "\n", line) for line in lines[::2]]
        return "".join(lines)

    def _keep(self, text: str) -> None:
        self._kept.append(text)

    def _keep_code(self, text: str) -> None:
        """Keep code between strings and the like, without spaces beside what separates words anyhow."""
        if self._kept and self._kept[-1] in ("{", "}", "${"):
            text = text.lstrip(" ")
        self._keep(_SPACED.sub(r"\1", text))

    def _keep_as_it_is(self, text: str) -> None:
        self._kept.append(f"\0{text}\0")

    def _take(self, mark: str) -> None:
        match mark:
            case "`":
                self._template("html" if self._before().endswith("html") else "")
            case "{":
                self._open.append(None)
                self._end_code()
                self._keep(mark)
            case "}":
                self._end_code()
                tag = self._open.pop() if self._open else None
                self._keep(mark)
                if tag is not None:
                    self._rest_of_template(tag)
            case "/":
                self._slash()

    def _end_code(self) -> None:
        if self._kept and not self._kept[-1].endswith("\0"):
            self._kept[-1] = self._kept[-1].rstrip(" ")

    def _before(self) -> str:
        """Return the last bit of what is kept, without white space at its end."""
        return "".join(self._kept[-4:]).rstrip(" \t\n")[-20:]

    def _slash(self) -> None:
        found = None
        if _BEFORE_EXPRESSION.search(self._before()):
            found = _EXPRESSION.match(self._source, self._at - 1)
        if found is None:
            self._keep("/")
        else:
            self._keep(found[0])
            self._at = found.end()

    def _template(self, tag: str) -> None:
        self._keep("`")
        self._rest_of_template(tag)

    def _rest_of_template(self, tag: str) -> None:
        found = _TEXT.match(self._source, self._at)
        assert found is not None  # it takes an empty text
        self._at = found.end()
        if tag:
            self._keep(_INDENTATION.sub("\n", found[0]))
        else:
            self._keep_as_it_is(found[0])
        if self._source.startswith("${", self._at):
            self._open.append(tag)
            self._keep("${")
            self._at += 2
        else:
            self._keep("`")
            self._at += 1


def script(source: str) -> str:
    """Return a script without comments, indentation and needless spaces."""
    return _Script(source).shrunk()


def sheet(source: str) -> str:
    """Return a style sheet without comments and white space that says nothing."""

    def taken(found: re.Match[str]) -> str:
        if found["space"]:
            return " "
        return found["string"] or found["mark"] or found["colon"] or ""

    return _IN_SHEET.sub(taken, source).strip()
