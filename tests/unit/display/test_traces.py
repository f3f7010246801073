"""Traces as HTML."""

from __future__ import annotations

import re

from dnworker.core.detail import add_detail
from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.display.traces import FORMS_STORED, STORED, Room, trace_html


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


async def test_values_of_variables_open_on_demand_without_a_script():
    remove = add_detail(lambda: "verbose")
    try:
        async with Runtime(port=None) as runtime:
            worker = Worker("bridge")

            @worker.on_event("demo.a")
            async def on_a(event, client):
                mark, api_key = "<b>", "k-1"
                raise ValueError(len(mark) + len(api_key))

            await runtime.add(worker)
            trace = await runtime.fire("demo.a", {"n": 1})
            html, text = trace_html(trace), str(trace)
    finally:
        remove()
    (details,) = re.findall(
        r"<details[^>]*role='treeitem'><summary[^>]*>(.*?)</pre></details>", html, re.DOTALL
    )
    assert details.startswith("4 values</summary>")
    assert "mark = &#x27;&lt;b&gt;&#x27;" in details
    assert "api_key = ***" in details
    assert "k-1" not in html
    assert f"event = <event #{trace.event.seq} demo.a {{'n': 1}}>" in text


async def displayed(runtime, *data):
    """Return the trace of an event whose handler displays these things."""
    worker = Worker("bridge")

    @worker.on_event("demo.a")
    async def on_a(event, client):
        for number, one in enumerate(data):
            runtime.log_line("bridge", f"display {number}", source="display", data=one)

    await runtime.add(worker)
    return await runtime.fire("demo.a", {})


async def test_displays_keep_their_form_in_a_trace_and_html_is_in_a_frame():
    async with Runtime(port=None) as runtime:
        html = trace_html(
            await displayed(
                runtime,
                {"text/html": "<b onclick=x>"},
                {"image/svg+xml": "<svg/>"},
                {"application/json": '{"a":1}'},
            )
        )
    assert '<iframe sandbox="" srcdoc="' in html
    assert "<b onclick" not in html
    assert "src='data:image/svg+xml;base64,PHN2Zy8+'" in html
    assert "<details><summary>application/json" in html


async def test_a_trace_stores_no_more_than_its_bound_and_says_where_the_rest_is():
    big = {"text/html": "x" * (STORED // 3)}
    async with Runtime(port=None) as runtime:
        html = trace_html(await displayed(runtime, *[big] * 4))
        number = runtime.logs.tail(1)[0].number
    assert html.count("<iframe") == 2
    assert len(html) < STORED + 20_000
    assert f"is not stored in the notebook; %worker logs bridge --show {number} shows it" in html


async def test_a_trace_of_very_many_displays_shows_the_first():
    async with Runtime(port=None) as runtime:
        html = trace_html(await displayed(runtime, *[{"text/html": "x"}] * 200))
    assert html.count("<iframe") == FORMS_STORED
    assert html.count("is not stored in the notebook") == 200 - FORMS_STORED


async def test_what_the_front_end_draws_itself_is_left_for_below_the_trace():
    live = {"application/vnd.jupyter.widget-view+json": '{"model_id": "7"}', "text/plain": "Button()"}
    room = Room()
    async with Runtime(port=None) as runtime:
        html = trace_html(await displayed(runtime, live, {"text/latex": "$x$"}), room)
    assert "(application/vnd.jupyter.widget-view+json: number 1 below the trace)" in html
    assert room.below == [
        {"application/vnd.jupyter.widget-view+json": {"model_id": "7"}, "text/plain": "display 0"},
        {"text/latex": "$x$", "text/plain": "display 1"},
    ]
