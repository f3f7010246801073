"""Tables and traces as text and as HTML."""

from __future__ import annotations

from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.display.traces import Table, trace_html


def test_a_table_is_text_in_columns_and_escaped_html():
    table = Table(["name", "n"], [["a<b", "1"], ["longer", "22"]], title="title", note="note")
    assert repr(table) == "title\nname    n\na<b     1\nlonger  22\nnote"
    html = table._repr_html_()
    assert "<p>title</p>" in html
    assert "a&lt;b" in html


def test_a_table_without_rows_says_so():
    table = Table(["name"], [], "nothing here")
    assert repr(table) == "nothing here"
    assert table._repr_html_() == "<p>nothing here</p>"


async def test_a_trace_is_a_tree_whose_text_is_escaped():
    async with Runtime(port=None) as runtime:
        worker = Worker("bridge")

        @worker.on_event("demo.a")
        async def on_a(event, client):
            raise ValueError("<script>")

        await runtime.add(worker)
        html = trace_html(await runtime.fire("demo.a", {}))
    assert "role='tree'" in html
    assert "aria-label='error'" in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
