"""The fakes that tests of workers use."""

from __future__ import annotations

import inspect
import json

import pytest

from dnworker import RuntimeClient
from dnworker.testing import FakeClient, FakeWebSocket

METHODS = [name for name, what in vars(RuntimeClient).items() if name[0] != "_" and inspect.isfunction(what)]
PROPERTIES = [name for name, what in vars(RuntimeClient).items() if isinstance(what, property)]


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


def _parameters(method):
    """Return what calls need to know of parameters: annotations are texts of other modules."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize("name", METHODS)
def test_a_fake_clients_method_takes_what_the_real_one_takes(name):
    real = RuntimeClient("http://127.0.0.1:1")
    assert _parameters(getattr(FakeClient(), name)) == _parameters(getattr(real, name))


@pytest.mark.filterwarnings("ignore:workflow:DeprecationWarning")
@pytest.mark.parametrize("name", METHODS)
def test_a_fake_clients_method_refuses_a_wrong_keyword_when_it_is_called(name):
    needed = {
        p.name: "x"
        for p in inspect.signature(getattr(RuntimeClient, name)).parameters.values()
        if p.name != "self" and p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    fake = FakeClient()
    with pytest.raises(TypeError, match="unexpected keyword argument 'sesion_id'"):
        getattr(fake, name)(**needed, sesion_id="s")
    assert fake.calls == []


async def test_a_fake_client_records_what_was_given_and_no_defaults():
    fake = FakeClient(answers={"stream_chat": [{"type": "agentend"}], "get_session": lambda args: args})
    assert [raw async for raw in fake.stream_chat(session_id="s", message="hi")] == [{"type": "agentend"}]
    async with fake.session_group("nightly", metadata={"n": 1}) as group_id:
        assert group_id is None
    assert await fake.get_session("s") == ("s",)
    assert [call.arguments for call in fake.calls] == [
        {"session_id": "s", "message": "hi"},
        {"title": "nightly", "metadata": {"n": 1}},
        {"args": ("s",)},
    ]


async def test_a_fake_clients_workflow_is_a_session_group_with_a_warning():
    fake = FakeClient()
    with pytest.warns(DeprecationWarning, match="session_group"):
        group = fake.workflow("nightly")
    async with group:
        pass
    assert [call.method for call in fake.calls] == ["session_group"]


def test_a_fake_client_has_what_a_client_has_and_no_more():
    fake = FakeClient()
    assert (fake.server_url, fake.fence, fake.is_started, fake.groups_sessions) == ("", None, True, True)
    assert {name for name in PROPERTIES if not hasattr(fake, name)} == {"connection"}  # it has no runtime
    with pytest.raises(AttributeError, match="a client has no 'fetch_tool'; did you mean fetch_tools"):
        _ = fake.fetch_tool
