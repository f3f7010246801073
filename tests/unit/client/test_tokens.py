"""To whom the environment's token goes: to this machine, and to the runtime that the environment names."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import asynccontextmanager

import pytest

from dnworker import Runtime
from dnworker.attach.attaching import attach
from dnworker.cli.remote import make_client
from dnworker.client.http import HttpConnection
from dnworker.client.pulling import Pull, PullQuery
from dnworker.client.tokens import is_meant_for
from dnworker.core.errors import RuntimeUnavailable, UsageError
from dnworker_jupyter.magics.pull import PullOptions, connection_of

SECRET = "s3cret-of-the-environment"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("URL", "HOST", "PORT", "TOKEN_FILE"):
        monkeypatch.delenv(f"DREADNODE_RUNTIME_{name}", raising=False)
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", SECRET)


class Stranger:
    """A server that notes what it is asked; as `http://0.0.0.0:PORT` its address is not one of loopback."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.url = ""
        self.redirect: str | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(request)
            status, more = "401 Unauthorized", ""
            if self.redirect is not None:
                status, more = "302 Found", f"Location: {self.redirect}\r\n"
            elif request.startswith("GET /api/ready "):
                status = "200 OK"
            writer.write(
                f"HTTP/1.1 {status}\r\n{more}Content-Type: application/json\r\n"
                "Content-Length: 2\r\nConnection: close\r\n\r\n{}".encode()
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.close()

    @property
    def was_given_the_token(self) -> bool:
        assert self.requests, "nothing was asked"
        return any(SECRET in request for request in self.requests)


@asynccontextmanager
async def serving(one: Stranger, host: str = "0.0.0.0"):
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield one


@pytest.fixture
async def stranger():
    async with serving(Stranger()) as one:
        yield one


def options(url: str, token_file=None) -> argparse.Namespace:
    return argparse.Namespace(url=url, token_file=token_file, ca=None, client_cert=None, client_key=None)


@pytest.mark.parametrize(
    ("url", "is_meant"),
    [
        ("http://127.0.0.1:9", True),
        ("http://127.8.0.1:9", True),
        ("http://localhost:9", True),
        ("http://[::1]:9", True),
        ("unix:/run/dnworker/api.sock", True),
        ("https://Runtime.example.com/", True),
        ("https://runtime.example.com:443", True),
        ("https://runtime.example.com:8443", False),
        ("https://runtime.example.com/other", False),
        ("http://runtime.example.com", False),
        ("https://runtime.example.com.evil.org", False),
        ("http://127.0.0.1.evil.org:9", False),
        ("http://127.0.0.1@evil.org", False),
        ("http://localhost.evil.org", False),
        ("http://192.168.0.7:8787", False),
    ],
)
def test_the_token_is_meant_for_this_machine_and_for_the_address_of_the_environment(
    monkeypatch, url, is_meant
):
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "https://runtime.example.com")
    assert is_meant_for(url) is is_meant


def test_an_environment_that_names_no_address_means_no_other(monkeypatch):
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "nonsense")
    assert not is_meant_for("http://runtime.example.com")


def test_host_and_port_of_the_environment_name_an_address_too(monkeypatch):
    monkeypatch.setenv("DREADNODE_RUNTIME_HOST", "runtime.example.com")
    monkeypatch.setenv("DREADNODE_RUNTIME_PORT", "9000")
    assert is_meant_for("http://runtime.example.com:9000")
    assert not is_meant_for("http://runtime.example.com:9001")


async def test_attach_gives_a_stranger_no_token_and_names_the_way_out(stranger):
    async with Runtime(port=None) as here:
        with pytest.raises(UsageError, match=r"wants a token; the one of .*--token-file FILE"):
            await attach(here, stranger.url)
    assert not stranger.was_given_the_token


async def test_a_command_gives_a_stranger_no_token_and_names_the_way_out(stranger, capsys):
    from dnworker.cli.main import main

    code = await asyncio.to_thread(main, ["ps", "--url", stranger.url])
    told = capsys.readouterr().err
    assert code == 1
    assert f"{stranger.url} wants a token; the one of the environment goes only to this machine" in told
    assert "--token-file FILE" in told
    assert SECRET not in told
    assert not stranger.was_given_the_token


async def test_the_magic_that_pulls_gives_a_stranger_no_token(stranger):
    connection = connection_of(PullOptions(stranger.url, PullQuery(), ""))
    with pytest.raises(RuntimeUnavailable, match="wants a token; .*--token-file FILE"):
        [one async for one in Pull(connection, PullQuery()).events()]
    await connection.close()
    assert not stranger.was_given_the_token


async def test_export_gives_a_stranger_no_token(stranger):
    client = make_client(options(stranger.url))
    with pytest.raises(RuntimeUnavailable, match="wants a token; .*--token-file FILE"):
        [one async for one in Pull(client.connection, PullQuery()).events()]
    await client.close()
    assert not stranger.was_given_the_token


async def test_the_events_of_a_stranger_are_asked_for_without_a_token(stranger):
    client = make_client(options(stranger.url))
    with pytest.raises(RuntimeUnavailable, match="wants a token; .*--token-file FILE"):
        [one async for one in client.connection.events(["a"])]
    await client.close()
    assert not stranger.was_given_the_token


@pytest.mark.parametrize("name", ["URL", "loopback"])
async def test_a_runtime_that_the_token_is_meant_for_gets_it(stranger, monkeypatch, name):
    if name == "URL":
        monkeypatch.setenv("DREADNODE_RUNTIME_URL", stranger.url)
    else:
        stranger.url = stranger.url.replace("0.0.0.0", "127.0.0.1")
    client = make_client(options(stranger.url))
    with pytest.raises(RuntimeUnavailable, match="refuses the token"):
        [one async for one in Pull(client.connection, PullQuery()).events()]
    await client.close()
    assert stranger.was_given_the_token


async def test_a_file_that_is_named_goes_to_any_address(stranger, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    client = make_client(options(stranger.url, file))
    with pytest.raises(RuntimeUnavailable, match="refuses the token"):
        [one async for one in Pull(client.connection, PullQuery()).events()]
    await client.close()
    assert stranger.was_given_the_token


async def test_a_redirect_takes_the_token_nowhere(stranger):
    """A runtime, or a tunnel to one, may answer with any address."""
    async with serving(Stranger(), "127.0.0.1") as near:
        near.redirect = f"{stranger.url}/api/ws/events"
        connection = HttpConnection(near.url)
        with pytest.raises(RuntimeUnavailable, match="302"):
            [one async for one in connection.events(["a"])]
        with pytest.raises(RuntimeUnavailable):
            [one async for one in Pull(connection, PullQuery()).events()]
        await connection.close()
    assert near.was_given_the_token
    assert stranger.requests == []


async def test_a_proxy_of_the_environment_gets_nothing(stranger, monkeypatch):
    for name in ("http_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, stranger.url)
    async with serving(Stranger(), "127.0.0.1") as near:
        connection = HttpConnection(near.url)
        for asking in (Pull(connection, PullQuery()).events(), connection.events(["a"])):
            with pytest.raises(RuntimeUnavailable):
                [one async for one in asking]
        await connection.close()
    assert len(near.requests) == 2
    assert stranger.requests == []
