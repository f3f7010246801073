"""How what handlers display is shown: safe, bounded, in the form that says most."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.panel import forms
from dnworker.panel.forms import (
    PLOTLY,
    WIDGET,
    document,
    form_of,
    frame_html,
    height_of,
    live_forms,
    mime_of,
    words_of,
)
from dnworker.panel.markdown import markdown_html
from dnworker.server.page import FRAME_STYLE

PICTURE = base64.b64encode(b"picture").decode()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"text/plain": "x"}, None),
        ({"text/html": "<b>x</b>", "image/png": PICTURE}, ("frame", "text/html")),
        ({"text/markdown": "# x"}, ("frame", "text/markdown")),
        ({"image/svg+xml": "<svg/>"}, ("image", "image/svg+xml")),
        ({"image/png": PICTURE}, ("image", "image/png")),
        ({"image/gif": PICTURE}, ("image", "image/gif")),
        ({"image/png": "no base 64!"}, None),
        ({"text/latex": "$x$"}, ("text", "text/latex")),
        ({"application/json": '{"a":1}'}, ("json", "application/json")),
        ({WIDGET: '{"model_id":"1"}', "text/html": "x"}, ("note", WIDGET)),
        ({PLOTLY: "{}"}, ("note", PLOTLY)),
        ({PLOTLY: "{}", "text/html": "<script>draw()</script>"}, ("frame", PLOTLY)),
        ({PLOTLY: "{}", "text/html": "<script src='https://cdn'></script>"}, ("note", PLOTLY)),
    ],
    ids=str,
)
def test_a_display_is_shown_in_the_form_that_says_most(data, shown):
    form = form_of(data)
    assert (form and (form.type, form.mime)) == shown
    if form is not None:
        assert mime_of(data) == form.mime


@pytest.mark.parametrize("text", [r"$\href{javascript:alert(1)}{x}$", r"\require{html}", r"\let\x=\href"])
def test_latex_that_reaches_beyond_its_formula_is_not_drawn(text):
    assert live_forms({"text/latex": "$x^2$"}) == {"text/latex": "$x^2$"}
    assert live_forms({"text/latex": text}) == {}
    assert form_of({"text/latex": text}).type == "text"


def test_only_a_plotly_figure_may_run_scripts_and_nothing_may_load_anything():
    plain, plotly = form_of({"text/html": "<script>x</script>"}), form_of({PLOTLY: "{}", "text/html": "x"})
    assert (plain.runs_scripts, plotly.runs_scripts) == (False, True)
    assert "script-src" not in plain.content
    for form in (plain, plotly):
        assert form.content.index("default-src 'none'") < form.content.index("<body>")
        assert "allow-same-origin" not in frame_html(form, "x")


def test_the_page_of_a_server_lets_frames_have_their_style_and_no_other():
    digest = base64.b64encode(hashlib.sha256(forms.STYLE.encode()).digest()).decode()
    assert f"sha256-{digest}" == FRAME_STYLE


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@given(st.text(alphabet="<>\"'&=/ ai", max_size=40), st.text(alphabet="<>\"'&=/ ai", max_size=40))
def test_no_html_gets_out_of_its_frame(page, label):
    form = forms.Form("frame", "text/html", document(page), 100)
    ((tag, attributes),) = Elements(frame_html(form, label)).found
    assert (tag, attributes["sandbox"], attributes["srcdoc"]) == ("iframe", "", document(page))


MARKS = st.text(alphabet='#*_`>|-[]()!<a1.\n &"', max_size=60)
PLAIN = {
    *("p", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ul", "ol", "li", "pre", "code", "strong", "em"),
    *("table", "thead", "tbody", "tr", "th", "td", "blockquote"),
}


@given(MARKS)
def test_markdown_becomes_elements_without_attributes_only(text):
    for tag, attributes in Elements(markdown_html(text)).found:
        assert tag in PLAIN
        assert not attributes


def test_markdown_has_headings_lists_tables_code_and_emphasis():
    text = "# T *e*\n\n- a\n- **b**\n\n1. x\n\n| a | b |\n|---|---|\n| 1 | `<2>` |\n\n```py\nx < 1\n```\n> q\n\n[l](http://x) z"
    html = markdown_html(text)
    for part in (
        "<h1>T <em>e</em></h1>",
        "<ul><li>a</li><li><strong>b</strong></li></ul>",
        "<ol><li>x</li></ol>",
        "<th>a</th>",
        "<td><code>&lt;2&gt;</code></td>",
        "<pre><code>x &lt; 1</code></pre>",
        "<blockquote>q</blockquote>",
        "<p>l (http://x) z</p>",
    ):
        assert part in html


@pytest.mark.parametrize(
    "text", ["*" * 50_000, "`" * 50_001, "[" * 50_000, "|" * 50_000, "_a" * 25_000, "**a" * 20_000]
)
def test_markdown_of_hostile_length_ends(text):
    assert markdown_html(text)


@pytest.mark.parametrize(
    ("page", "low", "high"),
    [
        ("", 48, 48),
        ("<b>x</b>", 48, 48),
        ("<tr>" * 10, 200, 260),
        ("<tr>" * 1000, 420, 420),
        ("<svg height='300'></svg>", 320, 330),
        ("<div style='height: 99999px'>", 420, 420),
    ],
)
def test_a_frame_is_as_high_as_its_document_seems_to_be_within_bounds(page, low, high):
    assert low <= height_of(page) <= high


def test_the_words_of_html_are_what_it_says():
    assert words_of("<style>b{}</style><p>a&amp;b <b>c</b><!-- x --><script>no()</script>") == "a&b c"
    assert len(words_of("word " * 1000)) == 200


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.lists(one, max_size=3))
)
def test_json_is_shown_folded_as_it_is(value):
    form = form_of({"application/json": json.dumps(value)})
    assert json.loads(form.content) == value
