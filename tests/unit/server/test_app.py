"""The HTTP API and the event stream, over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dnworker import Runtime, Worker
from dnworker.core.envelope import decode
from dnworker.server.bindings import bind

from ..capabilities import ECHO, make_capability


def stream(served, *kinds, token="s3cret", **options):
    query = "&".join(f"kinds={kind}" for kind in kinds)
    url = f"{served.url.replace('http', 'ws')}/api/ws/events?{query}"
    headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
    return connect(url, additional_headers=headers, proxy=None, **options)


@pytest.mark.clause("6.4 publish")
async def test_publishing_answers_event_id_and_seq(served, http):
    answer = await http.post("/api/events", json={"kind": "demo.a", "payload": {"x": 1}})
    assert answer.json() == {"event_id": served.history.events()[-1].event_id, "seq": 1}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "turn.x"}, 400),
        ({"kind": "turn"}, 200),
        ({"kind": "a"}, 200),
        ({}, 422),
        ({"kind": 7}, 422),
        ({"kind": "a", "payload": None}, 422),
        ({"kind": "a", "payload": [1]}, 422),
        ([], 422),
    ],
)
@pytest.mark.clause("5.4 reserved")
async def test_publishing_checks_the_body(http, body, status):
    assert (await http.post("/api/events", json=body)).status_code == status


@pytest.mark.clause("6.1 errors")
async def test_a_missing_field_is_told_in_the_apis_shape(http):
    answer = await http.post("/api/events", json={"payload": {}})
    (problem,) = answer.json()["detail"]
    assert (problem["type"], problem["loc"]) == ("missing", ["body", "kind"])


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"kind":"a","payload":{"x":"\\ud800"}}',
        b'{"kind":"a","payload":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
        b"\xff",
    ],
    ids=["cut", "surrogate", "deep", "bytes"],
)
@pytest.mark.clause("13.19")
async def test_json_that_cannot_be_read_is_a_422_not_a_500(http, content):
    answer = await http.post("/api/events", content=content)
    assert answer.status_code == 422


@pytest.mark.clause("13.19")
async def test_a_body_over_the_limit_is_a_413(http):
    answer = await http.post("/api/events", json={"kind": "a", "payload": {"x": "y" * 1_200_000}})
    assert answer.status_code == 413
    answer = await http.post("/api/events", json={"kind": "a", "payload": {"x": "y" * 1_050_000}})
    assert answer.status_code == 413


@pytest.mark.clause("5.5 tombstone")
@pytest.mark.clause("6.4 publish")
async def test_a_session_event_needs_a_live_session(served, http):
    body = {"kind": "demo.a"}
    assert (await http.post("/api/sessions/s1/events", json=body)).status_code == 404
    assert (await http.post("/api/sessions", json={"session_id": "s1"})).json()["session_id"] == "s1"
    assert (await http.post("/api/sessions/s1/events", json=body)).status_code == 200
    assert (await http.delete("/api/sessions/s1")).json() == {"status": "deleted", "session_id": "s1"}
    assert (await http.post("/api/sessions/s1/events", json=body)).status_code == 410
    assert (await http.post("/api/sessions", json={"session_id": "s1"})).status_code == 200
    assert (await http.post("/api/sessions/s1/events", json=body)).status_code == 200


@pytest.mark.clause("6.6 platform")
async def test_session_groups_answer_as_without_a_platform(http):
    assert (await http.post("/api/session-groups", json={"title": "x"})).status_code == 404


@pytest.mark.clause("6.1 errors")
@pytest.mark.clause("6.5 detail")
async def test_unknown_paths_and_verbs_answer_in_the_apis_shape(http):
    missing, verb = await http.get("/api/nothing"), await http.delete("/api/runtime")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert (verb.status_code, verb.json()) == (405, {"detail": "Method Not Allowed"})
    assert (await http.get("/api/workers")).status_code == 404


DETAIL = "name qualified_name capability state error when kind handlers"


@pytest.mark.clause("6.5 detail")
async def test_a_workers_detail_has_the_contracts_keys(served, http, tmp_path):
    workers = "echo: {path: echo.py}\nrelay: {command: no-such-program}"
    await served.load(make_capability(tmp_path, workers, {"echo.py": ECHO}))
    echo = (await http.get("/api/workers/demo/echo")).json()
    relay = (await http.get("/api/workers/demo/relay")).json()
    assert list(echo) == DETAIL.split()
    assert echo["handlers"] == {
        "startup": 0,
        "shutdown": 0,
        "event_kinds": ["demo.ping"],
        "schedules": 0,
        "tasks": 0,
    }
    assert list(relay) == [*DETAIL.split(), "process"]
    assert relay["error"].startswith("spawn failed")
    assert relay["process"]["pid"] is None
    assert (await http.get("/api/workers/demo/none")).status_code == 404


@pytest.mark.clause("3.6 restart")
async def test_restarting_a_running_worker_is_no_restart(served, http):
    await served.add(Worker("w"))
    answer = await http.post("/api/workers/notebook/w/restart")
    assert (answer.status_code, answer.json()["restarted"]) == (200, False)
    await served.worker("w").stop()
    assert (await http.post("/api/workers/notebook/w/restart")).json()["restarted"] is True


@pytest.mark.clause("3.6 restart")
async def test_a_gated_restart_is_a_409_with_the_reason(served, http, tmp_path):
    head = "flags:\n  live: {description: d}\n"
    await served.load(
        make_capability(tmp_path, "echo: {path: echo.py, when: [live]}", {"echo.py": ECHO}, head)
    )
    answer = await http.post("/api/workers/demo/echo/restart")
    assert (answer.status_code, answer.json()["detail"]["when"]) == (409, ["live"])


@pytest.mark.clause("6.3 runtime")
async def test_runtime_info_lists_capabilities_and_components(served, http, tmp_path):
    await served.load(make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO}))
    info = (await http.post("/api/reload")).json()
    (capability,) = info["capabilities"]
    assert (info["runtime_id"], capability["name"]) == (served.runtime_id, "demo")
    assert (
        capability["components"][0] | {"kind": "worker", "name": "echo", "status": "ok"}
        == capability["components"][0]
    )


@pytest.mark.clause("7.1 stream")
async def test_the_event_stream_carries_only_its_kinds_and_no_history(served):
    served.publish("demo.a")
    async with stream(served, "demo.a", "notify") as socket:
        served.publish("demo.b")
        served.publish("demo.a", {"n": 2})
        frame = await socket.recv()
    assert decode(frame).payload == {"n": 2}
    assert json.loads(frame)["connection_id"] is None


@pytest.mark.clause("7.1 stream")
async def test_an_event_stream_without_kinds_carries_everything(served):
    async with stream(served) as socket:
        served.publish("x")
        assert decode(await socket.recv()).kind == "x"


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Authorization": "Bearer wrong"}])
async def test_a_refused_handshake_is_a_403(served, headers):
    token = headers.pop("Authorization", "Bearer s3cret").removeprefix("Bearer ")
    with pytest.raises(InvalidStatus) as refused:
        async with stream(served, token=token, headers=headers):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.clause("13.10")
async def test_a_slow_subscriber_is_told_and_closed(served):
    async with stream(served, "big", max_size=None, max_queue=1) as socket:
        for n in range(600):  # more than the socket's buffers and the queue of 256 can hold
            served.publish("big", {"n": n, "x": "y" * 50_000})
        frames = []
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                frames.append(decode(await socket.recv()))
    assert closed.value.rcvd.code == 1013
    assert frames[-1].kind == "transport.subscriber_dropped"
    assert frames[-1].payload["lost"] + len(frames) - 1 == 600
    assert [f.payload["n"] for f in frames[:-1]] == list(range(len(frames) - 1))


@pytest.mark.clause("4.8 shutdown")
async def test_stopping_the_runtime_closes_streams_with_1012(served):
    async with stream(served) as socket:
        await served.stop()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd.code == 1012


@pytest.mark.clause("13.18")
async def test_a_half_sent_request_does_not_hold_up_a_stop(served):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    writer.write(
        b"POST /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer s3cret\r\nContent-Length: 99\r\n\r\n{"
    )
    await writer.drain()
    await served.stop()
    writer.close()


async def test_a_port_in_use_is_named_with_the_way_out():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"port {port} on 127\.0\.0\.1 is in use; port 0 picks"):
            await Runtime(port=port).start()


def test_an_address_that_is_not_ours_is_refused():
    with pytest.raises(OSError, match="cannot listen on 192.0.2.1:0"):
        bind("192.0.2.1", 0)
    with pytest.raises(OSError, match="port 99999 does not exist"):
        bind("127.0.0.1", 99_999)
