"""What the panel can do where there is no notebook."""

from __future__ import annotations

import json


async def test_a_payload_is_suggested_by_template_last_event_or_what_handlers_read(runtime, bridge, screen):
    await screen.open()

    async def suggested(kind):
        return json.loads((await screen.ask("suggest", kind=kind))["payload"])

    assert (await suggested("turn.completed"))["turn_id"] == "turn-1"
    assert (await suggested("demo.ping")).keys() == {"bad", "n"}
    await runtime.fire("demo.ping", {"n": 5})
    assert await suggested("demo.ping") == {"n": 5}


async def test_nothing_can_be_exported_where_there_is_no_notebook(runtime, screen):
    told = await screen.open(looks={"capabilities": {}})
    assert "only a notebook" in told["capabilities"]["whyNoExport"]
    assert "only a notebook" in (await screen.ask("export", path="out"))["text"]
