"""A map as SVG, Mermaid and text: whole, the same each time, and no name is markup in it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker.flow.flow_map import FlowMap
from dnworker.flow.graph import Facts
from dnworker.flow.mermaid import MOST, escaped
from tests.unit.flow.graphs import shop, some_facts, worker

HOSTILE = [
    "<script>alert(1)</script>",
    '"]; click n0 "javascript:x"',
    "a\nb %%{init: {}}%%",
    "`md` **x**",
    "\u202eright\u0000",
    "👩‍👩‍👧" * 40,
    "مرحبا",
    "end",
    "]]>&lt;",
]


def hostile():
    names = [f"x.{name}" for name in HOSTILE]
    return Facts(
        [worker("a:one", names, names, state="error", error=HOSTILE[0])], {HOSTILE[0]: {names[0]: 3}}, 1
    )


@given(some_facts())
@settings(deadline=None)
def test_an_svg_is_well_formed_and_stands_alone(facts):
    text = FlowMap(facts).svg
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"(href|src|url\()", text)


def test_an_svg_says_in_words_what_it_shows():
    root = ET.fromstring(FlowMap(shop(), "What flows where in orders").svg)
    title, desc = root[0], root[1]
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert title.text == "What flows where in orders"
    assert "orders.taken → payment: 4 of 10 calls failed in 5 min" in desc.text


def test_an_svg_is_dark_where_its_reader_prefers_that():
    assert "@media (prefers-color-scheme:dark)" in FlowMap(shop()).svg


def test_no_name_is_markup_in_an_svg():
    root = ET.fromstring(FlowMap(hostile()).svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "text", "g", "path", "circle"}


def test_no_name_means_anything_in_mermaid():
    lines = FlowMap(hostile()).mermaid.splitlines()
    assert lines[0] == "flowchart LR"
    box = r'n\d+(\(\["[^"`<>]*"\]\)|\[/"[^"`<>]*"/\]|\["[^"`<>]*"\])'
    allowed = re.compile(
        rf'  subgraph b\d+\["[^"]*"\]|    {box}|  end|  n\d+ (-->|-\.->)(\|"[^"`<>]*"\|)? n\d+|'
        r"  class n\d+(,n\d+)* \w+|  classDef \w+ [\w:#, -]+"
    )
    assert [line for line in lines[1:] if not allowed.fullmatch(line)] == []


@given(st.text(max_size=100))
def test_text_for_mermaid_holds_nothing_that_ends_it(text):
    assert not re.search(r'["`<>\n\r]', escaped(text))


@given(some_facts())
@settings(deadline=None)
def test_forms_are_the_same_each_time(facts):
    one, other = FlowMap(facts), FlowMap(facts)
    assert (one.svg, one.mermaid, str(one)) == (other.svg, other.mermaid, str(other))


def test_what_is_read_from_source_alone_has_no_rates():
    facts = Facts([worker("a:one", ["x"], ["y"])])
    assert "/min" not in FlowMap(facts).mermaid + str(FlowMap(facts))
    assert "|" not in FlowMap(facts).mermaid


def test_the_text_lists_flows_and_findings():
    text = str(FlowMap(shop()))
    assert "  orders.placed → orders:intake, 2/min" in text
    assert "! Cycle “retry”: taken → payment → retry → intake, 2/min" in text
    assert str(FlowMap(Facts())) == "Nothing flows yet."


def test_a_map_of_nothing_is_drawn():
    made = FlowMap(Facts())
    assert ET.fromstring(made.svg) is not None
    assert made.mermaid == "flowchart LR\n"


def test_a_large_chart_ends():
    facts = Facts([worker(f"a:w{n}", [f"k{n}"], [f"k{n + 1}"]) for n in range(1_000)], {}, 1)
    text = FlowMap(facts).mermaid
    assert text.count("-->") == MOST
    assert "more edges" in text


@pytest.mark.parametrize("form", ["image/svg+xml", "text/plain"])
def test_a_notebook_is_given_a_picture_and_text(form):
    assert FlowMap(shop())._repr_mimebundle_()[form]
