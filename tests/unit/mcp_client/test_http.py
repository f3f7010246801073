"""Servers at a URL: streamable HTTP, server-sent events of older ones, headers, refusals, and sign-ins."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import stat
import sys
import threading
import urllib.request
from contextlib import asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from dnworker.mcp_client.tools import MCPServerError, MCPToolError

from ...ports import free_port
from .servers import SERVERS

pytestmark = pytest.mark.timeout(90)

TOOLS = [{"name": "do", "inputSchema": {"type": "object"}}]


class Handler(BaseHTTPRequestHandler):
    """An MCP server over HTTP in plain Python, with an authorization server beside it where it is `guarded`."""

    protocol_version = "HTTP/1.1"
    guarded = False
    answer_bytes = 10
    tokens: set[str] = set()
    codes: dict[str, str] = {}
    seen: list[tuple[str, dict[str, str]]] = []

    def log_message(self, *args):
        pass

    def send(self, body, status=200, **headers):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path.startswith("/.well-known/oauth-protected-resource"):
            return self.send({"resource": f"{self.base}/mcp", "authorization_servers": [self.base]})
        if url.path.startswith("/.well-known/oauth-authorization-server"):
            return self.send({
                "issuer": self.base, "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": f"{self.base}/token", "registration_endpoint": f"{self.base}/register",
                "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
            })  # fmt: skip
        if url.path == "/authorize":
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            code = secrets.token_hex(8)
            self.codes[code] = query["code_challenge"]
            back = urlencode({"code": code, "state": query["state"]})
            return self.send(None, 302, Location=f"{query['redirect_uri']}?{back}")
        return self.send(None, 405)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.path, dict(self.headers)))
        if self.path == "/register":
            return self.send({**json.loads(body), "client_id": "client-1"}, 201)
        if self.path == "/token":
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
            assert self.codes.pop(form["code"]) == challenge.decode().rstrip("=")
            token = secrets.token_hex(16)
            self.tokens.add(f"Bearer {token}")
            return self.send({"access_token": token, "token_type": "Bearer", "expires_in": 3600})
        if self.guarded and self.headers.get("Authorization") not in self.tokens:
            where = f"{self.base}/.well-known/oauth-protected-resource"
            return self.send(None, 401, WWW_Authenticate=f'Bearer resource_metadata="{where}"')
        return self.speak(json.loads(body))

    def speak(self, message):
        number = message.get("id")
        if message.get("method") == "initialize":
            result = {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "serverInfo": {"name": "h", "version": "1"},
            }
        elif message.get("method") == "tools/list":
            result = {"tools": TOOLS}
        elif message.get("method") == "tools/call":
            result = {"content": [{"type": "text", "text": "x" * self.answer_bytes}]}
        elif number is None:
            return self.send(None, 202 if message.get("method") else 400)
        else:
            return self.send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no"}})
        return self.send({"jsonrpc": "2.0", "id": number, "result": result})

    def do_DELETE(self):
        self.send(None, 405)


@contextmanager
def serving(port=0, **attributes):
    kind = type("Own", (Handler,), {"tokens": set(), "codes": {}, "seen": [], **attributes})
    with ThreadingHTTPServer(("127.0.0.1", port), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/mcp", kind
        server.shutdown()


@asynccontextmanager
async def library(transport, port):
    """Run the well-behaved server at a port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVERS / "good.py"), transport, str(port),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()
        await process.wait()


async def test_a_server_of_the_library_over_http_is_called_also_after_it_was_started_anew(connected):
    port = free_port()
    async with library("streamable-http", port):
        running = connected(web={"url": f"http://127.0.0.1:{port}/mcp"})
        runtime = await running.__aenter__()
        detail = runtime.mcp.detail("demo", "web")
        facts = (detail["status"], detail["transport"], detail["tool_count"])
        assert facts == ("connected", "streamable-http", 7)
        add = runtime.tools.get("demo__web__add")
        sums = await asyncio.gather(*(add.call({"a": n, "b": 1}) for n in range(20)))
        assert sums == [str(n + 1) for n in range(20)]
        with pytest.raises(MCPToolError, match="the answer has over 4,194,304 bytes; at most 1,048,576"):
            await runtime.tools.get("demo__web__repeat").call({"text": "x" * 100, "times": 100_000})
        assert await add.call({"a": 2, "b": 2}) == "4"
    try:
        async with library("streamable-http", port):
            assert await add.call({"a": 2, "b": 3}) == "5"
    finally:
        await running.__aexit__(None, None, None)


async def test_an_older_server_that_has_server_sent_events_only_is_called(connected):
    port = free_port()
    async with library("sse", port), connected(web={"url": f"http://127.0.0.1:{port}/sse"}) as runtime:
        assert await runtime.tools.get("demo__web__add").call({"a": 2, "b": 3}) == "5"


async def test_headers_are_sent_and_never_shown(connected, monkeypatch):
    monkeypatch.setenv("WEB_KEY", "very-secret-key")
    headers = {
        "X-Key": "Bearer ${WEB_KEY}", "X-Maybe": {"value": "${NOT_SET}", "optional": True}, "X-Plain": {"value": "abc"},
    }  # fmt: skip
    with serving() as (url, kind):
        async with connected(web={"url": url, "headers": headers}) as runtime:
            assert await runtime.tools.get("demo__web__do").call({}) == "x" * 10
            shown = json.dumps(runtime.mcp.detail("demo", "web"))
    assert "very-secret-key" not in shown
    sent = {name.lower(): value for _, all_ in kind.seen for name, value in all_.items()}
    assert (sent["x-key"], sent["x-plain"]) == ("Bearer very-secret-key", "abc")
    assert "x-maybe" not in sent


async def test_an_answer_over_http_that_is_too_long_is_a_text_for_the_model(connected):
    with serving(answer_bytes=20_000_000) as (url, _):
        async with connected(web={"url": url}) as runtime:
            with pytest.raises(MCPToolError, match="the answer has 20,000,[0-9]{3} bytes; at most"):
                await runtime.tools.get("demo__web__do").call({})


async def test_a_url_where_nobody_answers_is_an_error(connected):
    async with connected(web={"url": "http://127.0.0.1:9/mcp"}, odd={"url": "nonsense"}) as runtime:
        assert runtime.mcp.detail("demo", "web")["status"] == "error"
        assert "connect" in runtime.mcp.detail("demo", "web")["error"].lower()
        assert runtime.mcp.detail("demo", "odd")["status"] == "error"


async def test_a_server_that_goes_away_fails_its_calls_and_is_called_again_when_it_is_back(connected):
    one_request_a_connection = {"protocol_version": "HTTP/1.0"}
    with serving(**one_request_a_connection) as (url, _):
        running = connected(web={"url": url})
        runtime = await running.__aenter__()
    try:
        tool = runtime.tools.get("demo__web__do")
        async with asyncio.timeout(20):
            with pytest.raises((MCPServerError, MCPToolError)) as raised:
                await tool.call({})
        assert "connect" in str(raised.value).lower()
        with serving(port=urlsplit(url).port, **one_request_a_connection):
            async with asyncio.timeout(20):
                assert await tool.call({}) == "x" * 10
    finally:
        await running.__aexit__(None, None, None)


@pytest.mark.clause("6.3 mcp")
async def test_somebody_signs_in_and_the_sign_in_is_kept_for_its_owner_only(connected, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DREADNODE_HEADLESS", "1")
    with serving(guarded=True) as (url, kind):
        async with connected(web={"url": url}) as runtime:
            (managed,) = runtime.mcp.all()
            first = runtime.mcp.detail("demo", "web")
            assert (first["status"], first["tool_count"]) == ("needs_auth", 0)
            assert first["detail"].startswith("Server requires authentication")
            asked = await runtime.mcp.reconnect("demo", "web")
            assert asked["status"] == "needs_auth"
            where = asked["detail"].removeprefix("Sign in at ")
            page = await asyncio.to_thread(lambda: urllib.request.urlopen(where, timeout=10).read())
            assert b"Signed in" in page
            async with asyncio.timeout(20):
                while runtime.mcp.detail("demo", "web")["status"] != "connected":
                    await asyncio.sleep(0.05)
            assert await runtime.tools.get("demo__web__do").call({}) == "x" * 10
        kept = tmp_path / ".dreadnode" / "mcp-auth.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert set(json.loads(kept.read_text())[url]) == {"tokens", "client_info"}
        async with connected(web={"url": url}) as runtime:  # nobody is asked again
            assert runtime.mcp.detail("demo", "web")["status"] == "connected"
            (managed,) = runtime.mcp.all()
            again = await runtime.mcp.reauthenticate("demo", "web")
            assert again["status"] == "needs_auth"
            assert json.loads(kept.read_text()).get(url, {}).get("tokens") is None
    assert os.environ["HOME"] == str(tmp_path)
    assert Path(kept).exists()
