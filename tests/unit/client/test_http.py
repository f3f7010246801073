"""The connection over HTTP: where the runtime is, whether it is ready, and streams that break."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import asynccontextmanager

import httpx
import pytest

from dnworker import Runtime, RuntimeClient
from dnworker.client import http
from dnworker.client.address import resolve_url
from dnworker.client.http import AT_ONCE
from dnworker.client.tokens import resolve_token
from dnworker.core.errors import Invalid, RuntimeUnavailable
from dnworker.server import embedded


@pytest.mark.clause("8.2 start")
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
@pytest.mark.clause("8.2 start")
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


def late(request: httpx.Request) -> httpx.Response:
    """Fail as `httpx` does where a connection takes longer than its limit."""
    try:
        try:
            raise asyncio.CancelledError("Cancelled via cancel scope 7fb96b430ea0; reason: deadline exceeded")
        except asyncio.CancelledError as exc:
            raise TimeoutError from exc
    except TimeoutError as exc:
        raise httpx.ConnectTimeout("", request=request) from exc


async def test_a_machine_that_is_too_busy_to_connect_to_itself_is_asked_again(monkeypatch):
    monkeypatch.setattr("dnworker.client.http.READY_POLL", 0)
    answers = iter([late, late, lambda _: httpx.Response(200, json={})])
    transport = httpx.MockTransport(lambda request: next(answers)(request))
    await RuntimeClient("http://127.0.0.1:1", transport=transport).start()
    assert [*answers] == []


async def test_a_connection_that_is_never_there_is_an_error_without_words_of_a_library(monkeypatch):
    monkeypatch.setattr("dnworker.client.http.CONNECT_BUDGET", 0)
    client = RuntimeClient("http://127.0.0.1:1", transport=httpx.MockTransport(late))
    with pytest.raises(RuntimeUnavailable) as failed:
        await client.start()
    assert str(failed.value) == "no runtime answers at http://127.0.0.1:1: it took too long to connect"


@asynccontextmanager
async def closing(after: float):
    """A server that closes a connection which is idle for longer, just as the next request comes; gives its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer, loop = b'{"seq": 1}', asyncio.get_running_loop()
        since = loop.time()
        while head := await reader.read(65_536):
            if loop.time() - since > after:
                break
            if head.startswith(b"POST") and not head.endswith(b"}"):
                await reader.readuntil(b"}")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
            since = loop.time()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_event_is_published_also_where_the_server_closes_an_idle_connection_just_then(monkeypatch):
    monkeypatch.setattr("dnworker.client.http.IDLE_SECONDS", 0.0)
    async with closing(after=0.02) as url:
        client = RuntimeClient(url, auth_token="t")
        for _ in range(3):
            assert await client.publish("demo.a", {}) == {"seq": 1}
            await asyncio.sleep(0.05)  # idle for longer than the server keeps it
        await client.close()


def test_clients_let_go_of_an_idle_connection_long_before_servers_do():
    the_references_server = the_references_client = 5.0  # seconds, as of uvicorn and httpx
    assert the_references_server / 2 >= http.IDLE_SECONDS
    assert the_references_client * 2 <= embedded.IDLE_SECONDS


@pytest.mark.clause("13.5")
async def test_a_wrong_token_at_the_stream_is_an_end_not_a_retry():
    async with Runtime(port=0) as runtime:
        client = RuntimeClient(runtime.url, auth_token="wrong")
        with pytest.raises(RuntimeUnavailable, match="refused the event stream with 403"):
            await anext(client.subscribe("a"))
        await client.close()


@pytest.mark.clause("8.6 subscribe")
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


@pytest.mark.clause("8.1 url")
def test_the_url_is_resolved_in_the_contracts_order(monkeypatch):
    assert resolve_url() == "http://127.0.0.1:8787"
    monkeypatch.setenv("DREADNODE_RUNTIME_PORT", "9000")
    assert resolve_url() == "http://127.0.0.1:9000"
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "http://there:1/")
    assert resolve_url() == "http://there:1"
    assert resolve_url("http://here:2/") == "http://here:2"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("foo", "'foo' is no address of a runtime, as server_url: it begins with http://, https:// or unix:"),
        ("localhost:8787", "it begins with http://, https:// or unix:; try http://localhost:8787"),
        (
            "ftp://x",
            "'ftp://x' is no address of a runtime, as server_url: it begins with http://, https:// or unix:",
        ),
        ("ws://x:1", "it begins with http://, https:// or unix:"),
        ("http://", "it names no host"),
        ("http://:8787", "it names no host"),
        ("http://x:port", "its port is no number from 0 to 65535"),
        ("http://x:99999", "its port is no number from 0 to 65535"),
        ("http://[::1", "it is no URL"),
        ("http://x y:1", "it has a space or a control character"),
        ("http://x\n:1", "it has a space or a control character"),
        (8787, "it is a text, not int"),
    ],
)
@pytest.mark.clause("8.1 url")
def test_what_is_no_address_is_refused_where_the_client_is_made(url, why, monkeypatch):
    with pytest.raises(Invalid) as refused:
        RuntimeClient(url)
    assert isinstance(refused.value, ValueError)
    assert why in str(refused.value)
    assert "such as http://127.0.0.1:8787" in str(refused.value) or "try http://" in str(refused.value)
    assert "\n" not in str(refused.value)
    if isinstance(url, str) and url.isprintable():
        monkeypatch.setenv("DREADNODE_RUNTIME_URL", url)
        with pytest.raises(Invalid, match="as DREADNODE_RUNTIME_URL"):
            RuntimeClient()


@pytest.mark.clause("8.1 url")
def test_a_host_and_port_of_the_environment_that_make_no_address_are_named(monkeypatch):
    monkeypatch.setenv("DREADNODE_RUNTIME_PORT", "http")
    with pytest.raises(Invalid, match="as DREADNODE_RUNTIME_HOST and _PORT: its port is no number"):
        RuntimeClient()


@pytest.mark.parametrize(
    "url",
    [
        "http://x",
        "HTTPS://X:1/",
        "http://[::1]:8787",
        "http://x/prefix//",
        "https://me:pass@x",
        "http://x_y:0",
    ],
)
@pytest.mark.clause("8.1 url")
def test_every_address_of_http_is_accepted_as_it_is(url):
    assert RuntimeClient(url).server_url == url.rstrip("/")


def test_a_password_in_what_is_no_address_is_not_shown():
    with pytest.raises(Invalid) as refused:
        RuntimeClient("ftp://me:hunter2@x")
    assert "hunter2" not in str(refused.value)
    assert "ftp://***@x" in str(refused.value)


@pytest.mark.clause("8.1 url")
def test_the_token_is_resolved_in_the_contracts_order(monkeypatch, tmp_path):
    monkeypatch.setenv("SANDBOX_AUTH_TOKEN", "legacy")
    assert resolve_token() == "legacy"
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "env")
    assert resolve_token() == "env"
    (tmp_path / "token").write_text("file\n")
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN_FILE", str(tmp_path / "token"))
    assert resolve_token() == "file"
    assert resolve_token("argument") == "argument"


async def test_of_many_requests_no_more_are_under_way_than_the_pool_has_connections():
    under_way = most = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return httpx.Response(200, json={"event_id": "e", "seq": 1})

    client = RuntimeClient("http://127.0.0.1:1", transport=httpx.MockTransport(answer))
    await client.start()
    answers = await asyncio.gather(*(client.publish("demo.go", {"n": n}) for n in range(500)))
    await client.close()
    assert len(answers) == 500
    assert most == AT_ONCE


async def test_a_redirect_is_an_error_that_says_where_it_leads():
    away = httpx.Response(307, headers={"location": "http://127.0.0.1:1/login"})
    client = RuntimeClient("http://127.0.0.1:1", transport=httpx.MockTransport(lambda _: away))
    with pytest.raises(
        httpx.HTTPStatusError, match="307 from GET /api/workers: .*leads to http://127.0.0.1:1/login"
    ):
        await client.connection.request("GET", "/api/workers")
    await client.close()


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_a_name_that_would_lead_elsewhere_is_no_part_of_a_path(name):
    client = RuntimeClient(
        "http://127.0.0.1:1", transport=httpx.MockTransport(lambda _: pytest.fail("asked"))
    )
    for call in (
        client.fetch_worker_detail("demo", name),
        client.connection.publish("demo.kind", {}, name),
    ):
        with pytest.raises(Invalid, match="names nothing"):
            await call
    await client.close()


async def test_what_breaks_a_request_names_it_and_lets_its_answer_go():
    class Broken(httpx.AsyncByteStream):
        closed = False

        async def __aiter__(self):
            yield b"{"
            raise httpx.ReadError("broken")

        async def aclose(self):
            self.closed = True

    body = Broken()
    answer = httpx.MockTransport(lambda _: httpx.Response(200, stream=body))
    client = RuntimeClient("http://127.0.0.1:1", transport=answer)
    with pytest.raises(httpx.ReadError) as broken:
        await client.connection.request("POST", "/api/events", body={"kind": "demo.go"})
    await client.close()
    assert broken.value.request.url == "http://127.0.0.1:1/api/events"
    assert body.closed


async def test_a_redirect_is_an_error_and_is_not_followed():
    asked = []

    def answer(request):
        asked.append(request.url.path)
        return httpx.Response(307, headers={"Location": "http://elsewhere.example/"})

    client = RuntimeClient("http://127.0.0.1:1", auth_token="s3cret", transport=httpx.MockTransport(answer))
    with pytest.raises(httpx.HTTPStatusError, match="no runtime sends a client elsewhere"):
        await client.connection.request("GET", "/api/workers")
    await client.close()
    assert asked == ["/api/workers"]


@pytest.mark.parametrize("token", ["hunter2\r\nX-Other: b", "hunter2\n", "hunter2é"])
async def test_a_token_that_no_header_can_have_is_refused_and_is_in_no_error(token):
    client = RuntimeClient("http://127.0.0.1:9", auth_token=token)
    connection = client.connection
    for use in (
        client.start(),
        connection.request("GET", "/"),
        anext(connection.events(["x"])),
        connection.watch("s"),
    ):
        with pytest.raises(RuntimeUnavailable, match="one line of text") as failed:
            await use
        assert "hunter2" not in "".join(traceback.format_exception(failed.value))
    await client.close()
