"""Chooses how something that a handler displayed is shown, and makes it safe; the panel and traces use it.

What a handler displays may be anybody's text. Pictures become data URLs, in which no script runs, SVG among
them. HTML goes into the document of a sandboxed frame (HTML standard, 7.1.3): it has an origin of its own,
runs no script, sends no form, opens no window, navigates nothing but itself; its Content-Security-Policy lets
it load nothing. Only the HTML of a Plotly figure may run scripts, within the same walls.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from html import escape, unescape
from typing import Any, Literal, NamedTuple

from dnworker.panel.markdown import markdown_html

WIDGET = "application/vnd.jupyter.widget-view+json"
PLOTLY = "application/vnd.plotly.v1+json"
PICTURES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif")
LIVE = (WIDGET, PLOTLY, "text/latex")
"""What a notebook draws by itself, and safely; not Markdown: JupyterLab would run the scripts in it."""

_UNSAFE_LATEX = re.compile(
    r"\\(?:href|url|require|class|style|cssId|html\w*|data|unicode|def|let|newcommand)\b"
)
"""Commands of MathJax that reach beyond the formula, or could give another name to one that does."""

JSON_FORMS = (WIDGET, PLOTLY, "application/json")
"""Forms that are objects; the log keeps them as JSON text."""

KEPT = (*JSON_FORMS, "text/html", "text/markdown", "text/latex", *PICTURES, "text/plain")
"""The forms of a display that are kept."""

LOWEST, HIGHEST = 48, 420
"""Pixels of a frame: a page cannot know how high the document in it is, so this is estimated."""

PLOTLY_HEIGHT = 470

BASE64 = re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*")

SANDBOX = ""
SCRIPTS_SANDBOX = "allow-scripts"
"""The `sandbox` of a frame: nothing is allowed, or nothing but scripts."""

STYLE = (
    "html{color-scheme:light dark}body{margin:4px;font:13px/1.45 system-ui,sans-serif;overflow:auto}"
    "table{border-collapse:collapse}td,th{padding:2px 8px;text-align:right;border:0}"
    "thead{border-bottom:1px solid #8888}pre,code{font-family:monospace}img,svg{max-width:100%}"
)
"""How a frame looks. The page of `dnworker serve` allows this style by its hash, and no other."""

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; media-src data:; "
    "form-action 'none'; base-uri 'none'"
)
_SCRIPTS_POLICY = f"{_POLICY}; script-src 'unsafe-inline' 'unsafe-eval'; worker-src blob:"
_ROWS = re.compile(r"<(?:tr|p|br|li|h[1-6]|div|pre|hr)\b|\n(?=[^<\s])", re.IGNORECASE)
_SIZE = re.compile(r"\bheight\s*[=:]\s*[\"']?(\d{1,5})(?:px)?[\"';\s/>]", re.IGNORECASE)
_TAGS = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)|<[^>]*>", re.IGNORECASE | re.DOTALL)
_LOOKED_AT = 100_000
"""Characters of HTML that are looked at for its height and its words."""


class Form(NamedTuple):
    """How something displayed is shown.

    `content` is a data URL of an `image`, the document of a `frame`, the text of `json` and `text`, and of a
    `note` what is said instead. `height` is that of a frame, in pixels.
    """

    type: Literal["image", "frame", "json", "text", "note"]
    mime: str
    content: str
    height: int = 0
    runs_scripts: bool = False


def mime_of(data: Mapping[str, Any] | None) -> str | None:
    """Return which form of something displayed is shown; None where it has its plain text alone."""
    if not data:
        return None
    wanted = (WIDGET, PLOTLY, "text/html", "text/markdown", *PICTURES, "text/latex", "application/json")
    return next((kind for kind in wanted if kind in data), None)


def form_of(data: Mapping[str, Any] | None) -> Form | None:
    """Return how something displayed is shown; None where it has its plain text alone."""
    if not data:
        return None
    if WIDGET in data:
        return Form("note", WIDGET, "a live widget; it is shown below the trace of a cell")
    if PLOTLY in data:
        return _plotly(data)
    if isinstance(page := data.get("text/html"), str):
        return Form("frame", "text/html", document(page), height_of(page))
    if isinstance(text := data.get("text/markdown"), str):
        page = markdown_html(text)
        return Form("frame", "text/markdown", document(page), height_of(page))
    for kind in PICTURES:
        if (url := picture_url(kind, data.get(kind))) is not None:
            return Form("image", kind, url)
    if isinstance(text := data.get("text/latex"), str):
        return Form("text", "text/latex", text)
    if "application/json" in data:
        return Form("json", "application/json", _pretty(data["application/json"]))
    return None


def _plotly(data: Mapping[str, Any]) -> Form:
    page = data.get("text/html")
    if not isinstance(page, str):
        return Form("note", PLOTLY, "a Plotly figure; it is drawn below the trace of a cell")
    if re.search(r"<script[^>]*\ssrc\s*=", page, re.IGNORECASE):
        text = "a Plotly figure that loads scripts from the network; it is drawn below the trace of a cell"
        return Form("note", PLOTLY, text)
    return Form("frame", PLOTLY, document(page, runs_scripts=True), PLOTLY_HEIGHT, runs_scripts=True)


def document(page: str, *, runs_scripts: bool = False) -> str:
    """Return HTML as the document of a frame; its policy comes first, so that nothing in it can weaken it."""
    policy = _SCRIPTS_POLICY if runs_scripts else _POLICY
    return (
        f'<!doctype html><html><head><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<style>{STYLE}</style></head><body>{page}"
    )


def live_forms(data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the forms that a front end draws by itself, without running anything that came with them."""
    forms: dict[str, Any] = {}
    for kind in LIVE:
        value = (data or {}).get(kind)
        if isinstance(value, str) and not (kind == "text/latex" and _UNSAFE_LATEX.search(value)):
            forms[kind] = json.loads(value) if kind in JSON_FORMS else value
    return forms


def frame_html(form: Form, label: str) -> str:
    """Return the element of a frame, as static HTML."""
    sandbox = SCRIPTS_SANDBOX if form.runs_scripts else SANDBOX
    style = f"display:block;width:100%;height:{form.height}px;border:0;resize:vertical;overflow:auto"
    return (
        f'<iframe sandbox="{sandbox}" srcdoc="{escape(form.content)}" loading="lazy" '
        f'referrerpolicy="no-referrer" title="{escape(label)}" style="{style}"></iframe>'
    )


def picture_url(kind: str, content: object) -> str | None:
    """Return a picture as a data URL; None for what is none."""
    if not isinstance(content, str) or not content:
        return None
    if kind == "image/svg+xml":
        return f"data:{kind};base64,{base64.b64encode(content.encode('utf-8', 'replace')).decode()}"
    return f"data:{kind};base64,{''.join(content.split())}" if BASE64.fullmatch(content) else None


def height_of(page: str) -> int:
    """Estimate how high a document is, in pixels."""
    looked_at = page[:_LOOKED_AT]
    rows = len(_ROWS.findall(looked_at)) or 1
    tallest = max((int(size) for size in _SIZE.findall(looked_at)), default=0)
    return min(HIGHEST, max(LOWEST, 24 + 21 * rows, 24 + tallest))


def words_of(page: str, longest: int = 200) -> str:
    """Return the words that HTML shows, the first of them, on one line."""
    words = " ".join(unescape(_TAGS.sub(" ", page[:_LOOKED_AT])).split())
    return words if len(words) <= longest else f"{words[: longest - 3]}..."


def _pretty(value: object) -> str:
    if not isinstance(value, str):  # an object that was kept as it is
        return json.dumps(value, indent=2, ensure_ascii=False, default=str)
    try:
        return json.dumps(json.loads(value), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return value
