"""What a worker's token may do under `--worker-scope worker`, endpoint by endpoint and command by command."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dnworker import Runtime, Worker
from dnworker.server import interactive
from dnworker.server.api import endpoint
from dnworker.server.auth import PUBLIC_PATHS
from dnworker.server.rights import COMMANDS, SOCKETS, WORKER_RIGHTS, Right
from dnworker.server.routes import ENDPOINTS, openapi

PROJECT = Path(__file__).parents[3]
NAME = "cap:mine"


@pytest.fixture
async def limited():
    async with Runtime(port=0, token="s3cret", worker_scope="worker") as runtime:
        for name in ("mine", "peer"):
            await runtime.add(Worker(name=name))
        yield runtime


@pytest.fixture
async def worker(limited):
    owner = next(w for w in limited.workers() if w.name == "mine")
    token = limited.tokens.mint(owner.qualified_name)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=limited.url, headers=headers, trust_env=False) as client:
        yield client


def path_of(one):
    return re.sub(r"\{(\w+)\}", lambda found: f"no-{found[1].replace('_', '-')}", one.path)


@pytest.mark.parametrize("one", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
async def test_an_endpoint_asks_for_its_right(worker, one):
    answer = await worker.request(one.method, path_of(one), params={"path": "x", "command": "true"}, json={})
    if one.right is None or one.right in WORKER_RIGHTS - {Right.OWN_DETAIL}:
        assert answer.status_code != 403
        return
    assert answer.status_code == 403
    wanted = Right.DETAILS if one.right is Right.OWN_DETAIL else one.right
    assert f"no right '{wanted.value}'" in answer.json()["detail"]


async def test_a_worker_sees_its_own_detail_and_restarts_a_peer_without_seeing_its_process(limited, worker):
    mine, peer = (next(w for w in limited.workers() if w.name == name) for name in ("mine", "peer"))
    own = await worker.get(f"/api/workers/{mine.capability}/{mine.name}")
    assert (own.status_code, own.json()["qualified_name"]) == (200, mine.qualified_name)
    other = await worker.get(f"/api/workers/{peer.capability}/{peer.name}")
    assert other.status_code == 403
    again = await worker.post(f"/api/workers/{peer.capability}/{peer.name}/restart", params={"force": True})
    assert (again.status_code, again.json()["restarted"], "process" in again.json()) == (200, True, False)


async def test_a_ticket_gives_no_more_than_the_token_that_asked_for_it(limited, worker):
    ticket = (await worker.post("/api/ws/ticket")).json()["ticket"]
    answer = await worker.post("/panel/session", json={"ticket": ticket})
    assert answer.status_code == 403
    assert "no right 'panel'" in answer.json()["detail"]
    ticket = (await worker.post("/api/ws/ticket")).json()["ticket"]
    async with connect(f"{limited.url.replace('http', 'ws')}/api/ws/events?ticket={ticket}", proxy=None):
        pass


async def test_a_socket_and_a_command_that_name_no_right_are_the_operators_alone(
    limited, worker, monkeypatch
):
    headers = {"Authorization": worker.headers["authorization"]}
    url = limited.url.replace("http", "ws")
    async with connect(f"{url}/api/ws", additional_headers=headers, proxy=None) as socket:
        monkeypatch.delitem(COMMANDS, "turn.start")
        await socket.send(json.dumps({"command_id": "1", "op": "hello"}))
        await socket.recv()
        command = {"command_id": "2", "op": "turn.start", "session_id": "s", "payload": {"message": "a"}}
        await socket.send(json.dumps(command))
        refused = json.loads(await socket.recv())["payload"]
        assert (refused["status_code"], "no right 'operate'" in refused["detail"]) == (403, True)
    monkeypatch.delitem(SOCKETS, "/api/ws/events")
    with pytest.raises(InvalidStatus):
        async with connect(f"{url}/api/ws/events", additional_headers=headers, proxy=None):
            pass


def test_an_endpoint_that_names_no_right_is_the_operators_alone():
    @endpoint("GET", "/api/new")
    def new(call: object) -> object:
        return call

    assert new.right is Right.OPERATE
    assert Right.OPERATE not in WORKER_RIGHTS


def test_what_anybody_may_call_is_what_the_gatekeeper_lets_through():
    assert {one.path for one in ENDPOINTS if one.right is None} == PUBLIC_PATHS
    assert openapi.right is None


@pytest.mark.parametrize(
    "one", [one for one in ENDPOINTS if one.right], ids=lambda one: f"{one.method} {one.path}"
)
async def test_an_endpoint_that_has_a_right_wants_a_token(limited, one):
    async with httpx.AsyncClient(base_url=limited.url, trust_env=False) as client:
        assert (await client.request(one.method, path_of(one), json={})).status_code == 401


def test_every_command_and_socket_has_a_right():
    assert COMMANDS.keys() == interactive._OPERATIONS.keys()
    assert {"/api/ws", "/api/ws/events"} == SOCKETS.keys()


def test_the_docs_say_the_right_of_every_endpoint_and_command():
    text = (PROJECT / "docs" / "reference" / "http-api.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^### (\S+ \S+)\n\n.+\n\nNeeds the right `([\w-]+)`", text, re.MULTILINE))
    assert said == {f"{one.method} {one.path}": one.right for one in ENDPOINTS if one.right is not None}
    assert dict(re.findall(r"^- `([\w.]+)`: needs the right `([\w-]+)`", text, re.MULTILINE)) == COMMANDS
    whose = dict(re.findall(r"^- `([\w-]+)` \(\*(worker|operator alone)\*\)", text, re.MULTILINE))
    assert {right for right, who in whose.items() if who == "worker"} == WORKER_RIGHTS
    needed = {one.right for one in ENDPOINTS if one.right is not None} | set(SOCKETS.values())
    assert whose.keys() == needed


async def test_by_default_a_workers_token_may_do_what_the_operators_may():
    async with Runtime(port=0) as runtime:
        headers = {"Authorization": f"Bearer {runtime.tokens.mint(NAME)}"}
        async with httpx.AsyncClient(base_url=runtime.url, headers=headers, trust_env=False) as client:
            for one in ENDPOINTS:
                answer = await client.request(one.method, path_of(one), params={"command": "true"})
                assert answer.status_code != 403


@pytest.mark.parametrize("path", ["/api/ws", "/api/ws/events"])
async def test_a_revoked_token_of_a_worker_closes_its_sockets_at_once(path):
    async with Runtime(port=0) as runtime:
        token = runtime.tokens.mint(NAME)
        headers = {"Authorization": f"Bearer {token}"}
        async with connect(
            runtime.url.replace("http", "ws") + path, additional_headers=headers, proxy=None
        ) as socket:
            runtime.tokens.revoke(token)
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(60):
                    await socket.recv()
            assert closed.value.rcvd.code == 4402
        async with httpx.AsyncClient(base_url=runtime.url, headers=headers, trust_env=False) as client:
            assert (await client.get("/api/runtime")).status_code == 401
