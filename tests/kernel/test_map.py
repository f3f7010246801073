"""`dn.map()` in a real kernel: of cells before they ran, and of what ran."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel

CELL = """
%%worker counter
@worker.on_event("order")
async def on_order(event, client):
    await client.publish("summed", {})
""".strip()


def test_a_map_is_a_picture_and_text_before_anything_ran_and_after(kernel):
    kernel.run(CELL)
    shown = kernel.run("dn.map()").result
    assert shown["image/svg+xml"].startswith("<svg ")
    assert "notebook:counter → summed" in shown["text/plain"]
    assert "! Nobody publishes order: notebook:counter waits for it" in shown["text/plain"]
    kernel.run("%fire order")
    text = kernel.run("print(dn.map())").text
    assert "Fired → order, " in text
    assert "! Nobody listens to summed" in text
    assert kernel.run("print(dn.map(0).mermaid)").text.startswith("flowchart LR\n")
