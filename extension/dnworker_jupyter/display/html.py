"""Static HTML for outputs of cells: colours, code, differences; what shows traces uses it.

Styles are inline and plain, for JupyterLab keeps only such ones in notebooks that it does not trust, and
GitHub none: what is shown must be readable as bare text. Colours hold on light and dark; the sheet, where it
is left in, makes those of the theme out of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from dnworker.core.json_rows import DiffRow

OK, BAD, WARN, RUN, MUTED = "#2e7d32", "#d32f2f", "#b26a00", "#6f86e8", "#7a8194"
OK_FILL, BAD_FILL, RUN_FILL, WAIT = "#2fa36b", "#d93a42", "#6f86e8", "#b9bcc4"

SUNKEN = "background-color:rgba(128,128,128,.08);border-radius:6px"
LINE = "1px solid rgba(128,128,128,.25)"
MONO = "font-family:monospace;font-size:12px;line-height:20px"
SANS = "font-family:sans-serif;font-size:13px;line-height:20px"

_LIGHT = (
    "--b:#c22129;--o:#137a47;--w:#8a5600;--m:#5a6170;"
    "--k:#1f4e8c;--s:#12693f;--n:#9a3c00;--y:#7a2fa0;--a:#3350d6"
)
_DARK = (
    "--b:#ff8a8a;--o:#5fcf97;--w:#f2b955;--m:#a5acba;"
    "--k:#8fc0ff;--s:#79d3a2;--n:#ffb27a;--y:#d6a6f5;--a:#9db0ff"
)
_NAMES = {
    "b": "bad",
    "o": "ok",
    "w": "warn",
    "m": "mu",
    "k": "key",
    "s": "str",
    "n": "num",
    "y": "kw",
    "a": "lnk",
}

SHEET = (
    "<style>"
    f'body[data-jp-theme-light="true"] .dnt,body.vscode-light .dnt{{{_LIGHT}}}'
    f'body[data-jp-theme-light="false"] .dnt,body.vscode-dark .dnt{{{_DARK}}}'
    ".dnt{font-family:var(--jp-ui-font-family,sans-serif)!important}"
    ".dnt .dnt-m,.dnt pre{font-family:var(--jp-code-font-family,monospace)!important}"
    + "".join(f".dnt .dnt-{name}{{color:var(--{short})!important}}" for short, name in _NAMES.items())
    + ".dnt .dnt-q{background-image:repeating-linear-gradient(135deg,rgba(128,128,128,.7) 0 1.5px,"
    "transparent 1.5px 4px)!important;background-color:transparent!important;"
    "box-shadow:inset 0 0 0 1px rgba(128,128,128,.5)}"
    ".dnt .dnt-g{background-image:linear-gradient(to right,rgba(128,128,128,.25) 1px,transparent 1px)}"
    "</style>"
)
"""Makes the colours those of JupyterLab's or VS Code's theme; taken out where outputs are not trusted."""

_COLOURS = {
    "bad": BAD, "ok": OK, "warn": WARN, "mu": MUTED,
    "key": "#3f77c4", "str": OK, "num": "#b5651d", "kw": "#9b5fc0", "lnk": "#4f69e0",
}  # fmt: skip


def coloured(text: str, name: str, more: str = "", title: str = "") -> str:
    """Return text in one of our colours; `text` is HTML, `more` are further styles."""
    hint = f" title='{escape(title)}'" if title else ""
    return f"<span class='dnt-{name}' style='color:{_COLOURS[name]}{more}'{hint}>{text}</span>"


def bare(text: str) -> str:
    """Return text that is seen only where styles are taken out."""
    return f"<span style='font-size:0;line-height:0'>{escape(text)}</span>"


def details(summary: str, body: str, *, is_open: bool = False) -> str:
    """Return what opens on demand, which takes no script; `summary` is text, `body` HTML."""
    return (
        f"<details{' open' if is_open else ''} style='padding:4px 0'>"
        f"<summary style='cursor:pointer'>{escape(summary)}</summary>{body}</details>"
    )


def block(rows: Iterable[str]) -> str:
    """Return rows of code, each made by `block_row`, as one block."""
    return f"<pre style='margin:6px 0;padding:8px 0;overflow-x:auto;{SUNKEN};{MONO}'>{''.join(rows)}</pre>"


def block_row(gutter: str, text: str, kind: str = "") -> str:
    """Return a row with what stands before it; `kind` is `bad`, `ok` or none, `text` is HTML.

    A row ends with a line break of text, for it is one without styles, too.
    """
    tint = {"bad": "rgba(217,58,66,.09)", "ok": "rgba(47,163,107,.1)"}.get(kind)
    style = f"background-color:{tint};" if tint else ""
    style += "display:inline-block;vertical-align:top;min-width:100%;padding:0 12px"
    before = coloured(escape(gutter), kind or "mu")
    inner = f"{before}  <b style='font-weight:normal'>{text}</b>" if kind else f"{before}  {text}"
    return f"<span style='{style}'>{inner}</span>\n"


# -- Python and JSON in colours ------------------------------------------------------------------------

_PYTHON = re.compile(
    r"(?P<mu>#.*)|(?P<str>[rRbBuUfF]{0,2}(?:\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?))"
    r"|(?P<kw>\b(?:False|None|True|and|as|assert|async|await|break|class|continue|def|del|elif|else|except"
    r"|finally|for|from|global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield)\b)"
    r"|(?P<num>\b\d[\w.]*)"
)
_JSON = re.compile(
    r"(?P<key>\"(?:[^\"\\]|\\.)*\"(?=:))|(?P<str>\"(?:[^\"\\]|\\.)*\"?)|(?P<kw>\b(?:true|false|null)\b)"
    r"|(?P<num>-?\b\d[\w.+-]*)"
)


def _in_colours(text: str, pattern: re.Pattern[str]) -> str:
    pieces, at = [], 0
    for match in pattern.finditer(text):
        pieces.append(escape(text[at : match.start()], quote=False))
        pieces.append(coloured(escape(match[0], quote=False), match.lastgroup or "mu"))
        at = match.end()
    return "".join([*pieces, escape(text[at:], quote=False)])


def python_block(lines: Sequence[tuple[int, str]], marked: int | None) -> str:
    """Return lines of Python with their numbers, one of them marked."""
    width = len(str(lines[-1][0])) if lines else 1
    rows = []
    for number, text in lines:
        is_it = number == marked
        mark = bare("→ ") if is_it else ""
        rows.append(
            block_row(f"{number:>{width}}", mark + _in_colours(text, _PYTHON), "bad" if is_it else "")
        )
    return block(rows)


class Marks(NamedTuple):
    """How the two sides of a difference are marked: a character and a colour each."""

    left: tuple[str, str]
    right: tuple[str, str]


OUTCOMES = Marks(("✓", "ok"), ("✗", "bad"))
"""What succeeded against what failed."""


def diff_block(rows: Sequence[DiffRow], marks: Marks = OUTCOMES) -> str:
    """Return the difference of two JSON values."""
    return block(_diff_rows(rows, marks))


def _diff_rows(rows: Sequence[DiffRow], marks: Marks) -> Iterator[str]:
    for row in rows:
        sign, kind = {"left": marks.left, "right": marks.right}.get(row.mark, (" ", ""))
        fold = coloured(f"▸ {escape(row.fold.text)}", "mu") if row.fold is not None else ""
        text = _in_colours(row.text, _JSON) + fold + _in_colours(row.after, _JSON)
        yield block_row(sign, "  " * row.depth + text, kind)
