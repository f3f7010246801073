"""Traces as HTML."""

from __future__ import annotations

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
