"""A run as a sequence diagram in Mermaid's language."""

from __future__ import annotations

import re

import pytest

from dnworker import Worker
from dnworker.events.sequence import escaped, mermaid, milliseconds
from dnworker.events.spans import Mark, Span

HOSTILE = '</text><script>alert(1)</script>; end\nparticipant x as "y" %% #35; \u202eRTL \U0001f600'


def event_row(id_: str, parent: str | None, **fields) -> Span:
    given = {"type": "event", "depth": 0, "kind": "a", "seq": 1, "last": 1, "marks": [Mark(id_, 1, 0.0)]}
    return Span(id=id_, parent=parent, **given | fields)


def call_row(id_: str, parent: str, **fields) -> Span:
    given = {"type": "call", "depth": 1, "worker": "w", "handler": "h", "seq": 1, "published": 0.0}
    return Span(id=id_, parent=parent, **given | {"started": 1.0, "ended": 3.0} | fields)


async def test_a_failed_run_has_lifelines_arrows_bars_and_the_error(runtime):
    worker, other = Worker(name="w"), Worker(name="other")

    @worker.on_event("a")
    async def first(event, client):
        await client.publish("b")

    @other.on_event("b")
    async def second(event, client):
        raise ValueError("no")

    await runtime.add(worker)
    await runtime.add(other)
    trace = await runtime.fire("a")
    lines = [line.strip() for line in trace.mermaid().split("\n")]
    assert lines[:4] == [
        "sequenceDiagram",
        "participant p0 as Fired",
        "participant p1 as notebook:w",
        "participant p2 as notebook:other",
    ]
    assert re.fullmatch(rf"p0->>p1: a #35;{trace.event.seq}, [\d.]+ ms", lines[4])
    assert re.fullmatch(rf"p1-xp2: b #35;{trace.event.seq + 1}, [\d.]+ ms", lines[6])
    assert sum(line.startswith("activate") for line in lines) == 2
    assert sum(line.startswith("deactivate") for line in lines) == 2
    assert any(line.startswith("Note right of p2: ValueError") for line in lines)


@pytest.mark.parametrize("where", ["kind", "worker", "error", "source", "text"])
def test_no_name_breaks_out_of_its_place(where):
    plain = mermaid([event_row("e", None), call_row("c", "e")], "HTTP").count("\n")
    kind = HOSTILE if where == "kind" else "a"
    fields = {"worker": HOSTILE} if where == "worker" else {}
    if where == "error":
        fields, plain = {"outcome": "error", "error": HOSTILE}, plain + 1
    if where == "text":
        fields, plain = {"text": HOSTILE}, plain + 1
    rows = [event_row("e", None, kind=kind), call_row("c", "e", **fields)]
    text = mermaid(rows, HOSTILE if where == "source" else "HTTP")
    assert text.count("\n") == plain
    assert not set('<>"%;\u202e') & set(re.sub(r"#\d+;|->>", "", text))


def test_an_event_that_nobody_hears_is_a_note():
    text = mermaid([event_row("e", None, heard=False, last=3)], "HTTP")
    assert text.endswith("Note over p0: a #35;1 to #35;3, nobody listens")


def test_a_diagram_of_many_calls_is_cut_and_says_so():
    rows = [event_row("e", None), *(call_row(f"c{n}", "e") for n in range(1_000))]
    text = mermaid(rows, "HTTP")
    assert text.count("activate p1") == 2 * 300
    assert "only the first 300 of 1000 calls are shown" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 ms"), (0.01, "0.01 ms"), (4.12, "4.1 ms"), (46.4, "46 ms"), (3200, "3.20 s")]
)
def test_times_are_as_people_read_them(value, text):
    assert milliseconds(value) == text


def test_long_names_are_cut():
    assert escaped("x" * 200) == "x" * 77 + "..."
