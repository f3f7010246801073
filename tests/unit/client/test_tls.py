"""A client over TLS and over a unix socket, by HTTP and by WebSocket: who is believed, and what is said."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from dnworker import Runtime, Worker
from dnworker.cli.main import main
from dnworker.client.client import RuntimeClient
from dnworker.client.tls import client_context
from dnworker.client.unreachable import unreachable
from dnworker.core.errors import RuntimeUnavailable, UsageError

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
A_DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
def ca(authority, tmp_path):
    """The file of the authority."""
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.cert_pem.bytes())
    return file


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in (
        "DNWORKER_CA",
        "DNWORKER_CLIENT_CERT",
        "DNWORKER_CLIENT_KEY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ):
        monkeypatch.delenv(name, raising=False)


def issued(authority, file: Path, *names: str, **dates) -> Path:
    """Write a certificate with its key."""
    made = authority.issue_cert(*(names or ("localhost", "127.0.0.1")), **dates)
    made.private_key_and_cert_chain_pem.write_to_path(str(file))
    file.chmod(0o600)
    return file


def echo() -> Worker:
    worker = Worker("echo")

    @worker.on_event("demo.ping")
    async def answer(event, client):
        await client.publish("demo.pong", event.payload)

    return worker


async def round_trip(client: RuntimeClient) -> dict:
    """Publish over HTTP until the answer comes over the socket: the first may be before it is open."""

    async def first():
        return (await anext(client.subscribe("demo.pong"))).payload

    waiting = asyncio.create_task(first())
    while not waiting.done():
        await client.publish("demo.ping", {"n": 1})
        await asyncio.wait({waiting}, timeout=0.02)
    return waiting.result()


async def refusal(url: str, tls: ssl.SSLContext | None = None) -> RuntimeUnavailable:
    """Return the error of a client that does not come in."""
    client = RuntimeClient(url, auth_token="s3cret", tls=tls)
    try:
        with pytest.raises(RuntimeUnavailable) as caught:
            await client.start()
    finally:
        await client.close()
    assert "\n" not in str(caught.value)
    return caught.value


async def test_events_go_and_come_over_tls_by_the_authority_of_a_file_or_a_variable(
    authority, ca, tmp_path, monkeypatch
):
    async with Runtime(tls_cert=issued(authority, tmp_path / "both.pem"), token="s3cret") as runtime:
        await runtime.add(echo(), capability="demo")
        url = runtime.server.addresses[0]
        async with RuntimeClient(url, auth_token="s3cret", tls=client_context(ca)) as client:
            assert await round_trip(client) == {"n": 1}
        for variable in ("DNWORKER_CA", "SSL_CERT_FILE"):
            with monkeypatch.context() as patched:
                patched.setenv(variable, str(ca))
                async with RuntimeClient(url, auth_token="s3cret") as client:
                    assert await round_trip(client) == {"n": 1}


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
async def test_events_go_and_come_over_a_unix_socket(tmp_path, form):
    async with Runtime(uds=tmp_path / "s", token="s3cret") as runtime:
        await runtime.add(echo(), capability="demo")
        async with RuntimeClient(form.format(tmp_path / "s"), auth_token="s3cret") as client:
            assert await round_trip(client) == {"n": 1}
            assert client.server_url == f"unix:{tmp_path / 's'}"


async def test_a_turn_goes_over_the_unix_socket_too(tmp_path):
    async with (
        Runtime(uds=tmp_path / "s", token="s3cret"),
        RuntimeClient(f"unix:{tmp_path / 's'}", auth_token="s3cret") as client,
    ):
        session = await client.create_session()
        await client.connection.watch(session.session_id)  # by the interactive socket
        await client.connection.unwatch(session.session_id)


async def test_each_fault_of_a_certificate_is_one_line_with_its_remedy(authority, ca, tmp_path):
    context = client_context(ca)
    stranger = issued(trustme.CA(), tmp_path / "stranger.pem")
    async with Runtime(tls_cert=stranger) as runtime:
        found = await refusal(runtime.server.addresses[0], context)
        assert ("--ca FILE" in str(found), found.code, found.is_final) == (True, "DN927", True)
    other = issued(authority, tmp_path / "other.pem", "example.com")
    async with Runtime(tls_cert=other) as runtime:
        found = await refusal(runtime.server.addresses[0], context)
        assert ("for another name" in str(found), found.code) == (True, "DN927")
    future = datetime.datetime.now(datetime.UTC) + A_DAY
    for text, begin in (("has expired", LONG_AGO), ("is not valid yet", future)):
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / "when.pem").unlink()
        wrong = issued(authority, tmp_path / "when.pem", not_before=begin, not_after=begin + A_DAY)
        async with Runtime(tls_cert=wrong) as runtime:
            found = await refusal(runtime.server.addresses[0], context)
            assert (text in str(found), "--tls-cert" in str(found), found.code) == (True, True, "DN927")


async def test_the_event_stream_refuses_what_http_refuses(authority, ca, tmp_path):
    async with Runtime(tls_cert=issued(authority, tmp_path / "both.pem"), token="s3cret") as runtime:
        url = runtime.server.addresses[0]
        client = RuntimeClient(url, auth_token="s3cret")
        client._started = True  # as if its authority had counted when it began
        with pytest.raises(RuntimeUnavailable, match="not trusted here") as caught:
            await anext(client.subscribe())
        assert caught.value.code == "DN927"
        await client.close()


async def test_plain_and_tls_taken_for_each_other_name_the_right_address(authority, tmp_path):
    async with Runtime(tls_cert=issued(authority, tmp_path / "both.pem")) as runtime:
        right = runtime.server.addresses[0]
        assert str(await refusal(right.replace("https", "http"))).endswith(f"give its address as {right}")
        found = await refusal(runtime.url.replace("http", "https"))
        assert (f"is it {runtime.url}?" in str(found), found.code) == (True, "DN906")


async def test_a_runtime_that_wants_a_certificate_gets_the_clients(authority, ca, tmp_path, monkeypatch):
    own = issued(authority, tmp_path / "own.pem", "ada")
    cert = issued(authority, tmp_path / "both.pem")
    async with Runtime(tls_cert=cert, tls_client_ca=ca, token="s3cret") as runtime:
        await runtime.add(echo(), capability="demo")
        url = runtime.server.addresses[0]
        found = await refusal(url, client_context(ca))
        assert ("--client-cert FILE" in str(found), found.code) == (True, "DN938")
        monkeypatch.setenv("DNWORKER_CA", str(ca))
        monkeypatch.setenv("DNWORKER_CLIENT_CERT", str(own))
        async with RuntimeClient(url, auth_token="s3cret") as client:
            assert await round_trip(client) == {"n": 1}


async def test_each_fault_of_a_socket_is_one_line_with_its_remedy(tmp_path):
    found = await refusal(f"unix:{tmp_path}/none")
    assert ("there is no socket" in str(found), found.code) == (True, "DN939")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    (tmp_path / "file").touch()
    for name in ("dead", "file"):
        found = await refusal(f"unix:{tmp_path / name}")
        assert ("nobody listens at" in str(found), found.code) == (True, "DN939")
    found = unreachable("unix:/s", PermissionError(13, "Permission denied"))
    assert ("--uds-mode 0660" in str(found), found.code) == (True, "DN939")


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("ca", None, "--ca .* cannot be read: No such file"),
        ("ca", "", "--ca .* has no certificate in PEM"),
        ("ca", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "--ca"),
        ("cert", "", "--client-cert .* has no certificate"),
        ("cert", "-----BEGIN CERTIFICATE-----\nx", "--client-cert .* has no private key"),
        ("key", "", "--client-key needs the certificate"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_option(tmp_path, option, content, said):
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=said) as caught:
        client_context(**{option: file})
    assert caught.value.code == "DN938"
    assert "\n" not in str(caught.value)


def test_a_pipe_or_directory_is_no_file_of_certificates(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="no regular file"):
            client_context(file)


def test_a_variable_that_leads_nowhere_is_said_and_not_passed_over(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/ca.pem")
    with pytest.raises(UsageError, match="SSL_CERT_FILE /nonexistent/ca.pem cannot be read"):
        client_context()
    monkeypatch.setenv("DNWORKER_CA", "/nonexistent/own.pem")
    with pytest.raises(UsageError, match="DNWORKER_CA /nonexistent/own.pem cannot be read"):
        client_context()


def test_the_authority_of_a_file_counts_alone(ca):
    names = [found["subject"] for found in client_context(ca).get_ca_certs()]
    assert len(names) == 1


def test_without_certificates_of_the_system_those_of_certifi_count(monkeypatch):
    nowhere = ssl.DefaultVerifyPaths(None, None, "", "", "", "")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    assert len(client_context().get_ca_certs()) > 50


def test_a_server_is_always_checked_by_name_and_by_authority(ca):
    for context in (client_context(), client_context(ca)):
        assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


# -- the commands ----------------------------------------------------------------------------------------


async def command(*words: str) -> int:
    return await asyncio.to_thread(main, words)


@pytest.fixture
def token_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "token"
    file.write_text("s3cret")
    return str(file)


async def test_commands_take_the_socket_and_the_authority(authority, ca, tmp_path, token_file, capsys):
    cert = issued(authority, tmp_path / "both.pem")
    async with (
        Runtime(uds=tmp_path / "s", token="s3cret") as near,
        Runtime(tls_cert=cert, token="s3cret") as far,
    ):
        for runtime, more in ((near, ()), (far, ("--ca", str(ca)))):
            await runtime.add(echo(), capability="demo")
            where = ("--url", runtime.server.addresses[0], *more, "--token-file", token_file)
            assert await command("fire", "demo.ping", *where) == 0
            assert await command("ps", *where) == 0
            assert await command("events", *where) == 0
            assert await command("logs", *where) == 0
            assert "demo:echo" in capsys.readouterr().out


async def test_options_of_tls_without_tls_are_refused(ca, token_file, capsys):
    assert await command("ps", "--url", "http://127.0.0.1:1", "--ca", str(ca)) == 1
    assert "--ca is for an https URL, and this is http://127.0.0.1:1" in capsys.readouterr().err


async def test_the_panel_of_a_socket_says_what_a_browser_can_open(tmp_path, token_file, capsys):
    async with Runtime(uds=tmp_path / "s", token="s3cret"):
        url = f"unix:{tmp_path / 's'}"
        assert await command("panel", "--no-browser", "--url", url, "--token-file", token_file) == 1
    err = capsys.readouterr().err
    assert f"socat TCP-LISTEN:8788,bind=127.0.0.1,fork UNIX-CONNECT:{tmp_path / 's'} (DN939)" in err


def hang_up(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Read a request, and end the connection without a word, not even one of TLS."""
    with context.wrap_socket(listening.accept()[0], server_side=True) as accepted:
        accepted.recv(10_000)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_server_that_hangs_up_is_told_alike_on_each_loop(loop, authority, ca, tmp_path):
    made = pytest.importorskip(loop).new_event_loop
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(issued(authority, tmp_path / "server.pem"))

    async def refused(url: str) -> str:
        hanging_up = asyncio.create_task(asyncio.to_thread(hang_up, listening, server))
        try:
            return str(await refusal(url, client_context(ca)))
        finally:
            await hanging_up

    with socket.create_server(("127.0.0.1", 0)) as listening, asyncio.Runner(loop_factory=made) as runner:
        listening.settimeout(10)
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        assert "ended the connection (Server disconnected" in runner.run(refused(url))
