"""Traces as HTML."""

from __future__ import annotations

import re

from dnworker.core.detail import add_detail
from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.display.traces import trace_html


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
