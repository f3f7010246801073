"""One client, two transports: the same calls give the same answers over HTTP and in-process."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from dnworker import Runtime, RuntimeClient, Worker
from dnworker.client.http import resolve_token, resolve_url
from dnworker.errors import Invalid, ReservedKind, RuntimeUnavailable


@pytest.fixture(params=["http", "direct"])
async def client(request):
    """A client of a runtime with one worker; `client.runtime` is the runtime."""
    async with Runtime(port=0) as runtime:
        await runtime.add(Worker("w"))
        if request.param == "http":
            made = RuntimeClient(runtime.url, auth_token=runtime.tokens.main)
        else:
            made = runtime.client()
        made.runtime = runtime
        async with made:
            yield made


async def test_publish_answers_event_id_and_seq(client):
    answer = await client.publish("demo.a", {"x": [1, None]})
    newest = client.runtime.history.events()[-1]
    assert answer == {"event_id": newest.event_id, "seq": newest.seq}
    assert newest.payload == {"x": [1, None]}


async def test_reserved_kinds_and_bad_payloads_are_refused_before_anything_is_sent(client):
    with pytest.raises(ReservedKind, match="'turn.completed' is reserved"):
        await client.publish("turn.completed")
    with pytest.raises(Invalid, match=r"payload\.x is a set"):
        await client.publish("demo.a", {"x": {1}})


async def test_notify_is_an_event_with_the_contracts_payload(client):
    await client.notify("Title", body="Body", severity="warning", source="me")
    newest = client.runtime.history.events()[-1]
    assert newest.kind == "notify"
    assert newest.payload == {"source": "me", "title": "Title", "body": "Body", "severity": "warning"}


async def test_a_session_that_is_not_live_is_an_http_error_on_both(client):
    with pytest.raises(httpx.HTTPStatusError, match="no live session 's1'") as refused:
        await client.publish("demo.a", session_id="s1")
    assert refused.value.response.status_code == 404


async def test_subscribe_yields_live_events_of_its_kinds(client):
    events = client.subscribe("demo.a")
    waiting = asyncio.ensure_future(anext(events))
    while not client.runtime.bus._subscribers.of_kind("demo.a"):
        await asyncio.sleep(0)
    client.runtime.publish("demo.b")
    client.runtime.publish("demo.a", {"n": 1})
    assert (await waiting).payload == {"n": 1}
    await events.aclose()


async def test_runtime_info_and_worker_detail(client):
    info = await client.fetch_runtime_info()
    assert info.capabilities[0].components[0].name == "w"
    detail = await client.fetch_worker_detail("notebook", "w")
    assert (detail["state"], detail["qualified_name"]) == ("running", "notebook:w")


async def test_restart_and_reload(client):
    assert (await client.restart_worker("notebook", "w"))["restarted"] is False
    with pytest.raises(httpx.HTTPStatusError) as refused:
        await client.restart_worker("notebook", "none")
    assert refused.value.response.status_code == 404
    info = await client.reload_capabilities()
    assert info.capabilities[0].components[0].status == "ok"


async def test_sessions_are_one_per_id(client):
    first = await client.create_session(session_id="callback-7", labels={"a": ["b"]})
    assert await client.create_session(session_id="callback-7") == first
    assert (await client.get_session("callback-7")).labels == {"a": ["b"]}
    assert [s.session_id for s in await client.list_sessions()] == ["callback-7"]
    await client.delete_session("callback-7")
    assert await client.get_session("callback-7") is None
    created = [e for e in client.runtime.history.events() if e.kind == "session.created"]
    assert len(created) == 1


async def test_a_session_group_without_a_platform_is_no_group(client):
    async with client.session_group("title", kind="worker_run") as group:
        assert group is None


async def test_a_runtime_that_has_no_groups_is_asked_once():
    asked = []

    def answer(request):
        if request.url.path == "/api/ready":
            return httpx.Response(200, json={})
        asked.append(request.url.path)
        return httpx.Response(404)

    client = RuntimeClient("http://127.0.0.1:1", transport=httpx.MockTransport(answer))
    for _ in range(3):
        async with client.session_group("t"):
            pass
    assert asked == ["/api/session-groups"]


async def test_groups_are_closed_as_completed_or_failed():
    said = []

    def answer(request):
        said.append((request.method, request.url.path, request.content))
        return httpx.Response(200, json={"id": "g1"})

    client = RuntimeClient("http://127.0.0.1:1", transport=httpx.MockTransport(answer))
    async with client.session_group("t") as group:
        assert group == "g1"
    with pytest.raises(KeyError):
        async with client.session_group("t"):
            raise KeyError
    patches = [content for method, _, content in said if method == "PATCH"]
    assert patches == [b'{"status":"completed"}', b'{"status":"failed"}']


async def test_a_runtime_that_is_not_there_is_named(unused_tcp_port):
    client = RuntimeClient(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(RuntimeUnavailable, match=f"no runtime answers at http://127.0.0.1:{unused_tcp_port}"):
        await client.start()
    await client.close()


@pytest.mark.parametrize(
    ("answers", "ok"),
    [
        ([httpx.Response(200, json={})], True),
        ([httpx.Response(503, json={"stage": "installing"}), httpx.Response(200, json={})], True),
        ([httpx.Response(404), httpx.Response(200, json={})], True),
        ([httpx.Response(404), httpx.Response(404)], False),
        ([httpx.Response(503, json={"stage": "failed"})], False),
        ([httpx.Response(503, text="busy")], False),
        ([httpx.Response(500)], False),
    ],
    ids=["ready", "starting", "old", "nothing", "failed", "no-stage", "broken"],
)
async def test_start_follows_the_contracts_readiness_rules(answers, ok, monkeypatch):
    monkeypatch.setattr("dnworker.client.http.READY_POLL", 0)
    queue = iter(answers)
    client = RuntimeClient("http://127.0.0.1:1", transport=httpx.MockTransport(lambda _: next(queue)))
    if ok:
        await client.start()
    else:
        with pytest.raises(RuntimeUnavailable):
            await client.start()
    assert client.is_started is ok


async def test_a_wrong_token_at_the_stream_is_an_end_not_a_retry():
    async with Runtime(port=0) as runtime:
        client = RuntimeClient(runtime.url, auth_token="wrong")
        with pytest.raises(RuntimeUnavailable, match="refused the event stream with 403"):
            await anext(client.subscribe("a"))
        await client.close()


async def test_a_lost_stream_reconnects_and_says_so(unused_tcp_port):
    first = Runtime(port=unused_tcp_port, token="t")
    await first.start()
    client = RuntimeClient(first.url, auth_token="t")
    events = client.subscribe("b", "a")
    waiting = asyncio.ensure_future(anext(events))
    while not first.bus._subscribers.of_kind("a"):
        await asyncio.sleep(0)
    await first.stop()
    async with Runtime(port=unused_tcp_port, token="t") as second:
        reconnected = await waiting
        assert (reconnected.kind, reconnected.seq, reconnected.payload) == (
            "transport.reconnected",
            0,
            {"kinds": ["a", "b"]},
        )
        second.publish("a")
        assert (await anext(events)).kind == "a"
        await events.aclose()
        await client.close()


def test_the_url_is_resolved_in_the_contracts_order(monkeypatch):
    assert resolve_url() == "http://127.0.0.1:8787"
    monkeypatch.setenv("DREADNODE_RUNTIME_PORT", "9000")
    assert resolve_url() == "http://127.0.0.1:9000"
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "http://there:1/")
    assert resolve_url() == "http://there:1"
    assert resolve_url("http://here:2/") == "http://here:2"


def test_the_token_is_resolved_in_the_contracts_order(monkeypatch, tmp_path):
    monkeypatch.setenv("SANDBOX_AUTH_TOKEN", "legacy")
    assert resolve_token() == "legacy"
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "env")
    assert resolve_token() == "env"
    (tmp_path / "token").write_text("file\n")
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN_FILE", str(tmp_path / "token"))
    assert resolve_token() == "file"
    assert resolve_token("argument") == "argument"


async def test_nulls_of_the_reference_count_as_missing():
    capability = {"name": "demo", "display_name": "demo", "checks": None, "flags": None, "components": None}
    answer = {"status": "ok", "version": "2.0.52", "working_dir": None, "capabilities": [capability]}
    client = RuntimeClient(
        "http://127.0.0.1:1", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    )
    info = await client.fetch_runtime_info()
    assert (info.working_dir, info.capabilities[0].checks) == ("", [])
