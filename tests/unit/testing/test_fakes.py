"""The fakes that tests of workers use."""

from __future__ import annotations

import json

import pytest

from dnworker.testing import FakeWebSocket


async def test_a_fake_websocket_records_what_is_sent_as_what_it_says(fake_ws):
    assert isinstance(fake_ws, FakeWebSocket)
    await fake_ws.send({"a": 1})
    await fake_ws.send(json.dumps({"a": 2}))
    await fake_ws.send_bytes(b"[1]")
    await fake_ws.send_text("{not json")
    await fake_ws.send("5")
    assert fake_ws.sent == [{"a": 1}, {"a": 2}, [1], "{not json", "5"]


async def test_a_fake_websocket_yields_what_is_incoming_and_ends():
    ws = FakeWebSocket(["a", "b", "c"])
    assert await ws.recv() == "a"
    assert [message async for message in ws] == ["b", "c"]
    with pytest.raises(EOFError, match="put messages into"):
        await ws.recv()


async def test_a_fake_websocket_may_be_pinged_and_closed():
    ws = FakeWebSocket()
    assert await ws.ping() is None
    await ws.close(code=1000)
    assert ws.closed
