"""Servers that cannot be used are refused in one line with the way out; the servers are real, but the old one."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats_servers import free_ports, nats_server

from dnworker.core.errors import BrokerError
from dnworker.events.brokers.jetstream import first_contact
from dnworker.events.brokers.jetstream.credentials import is_seed, tls_context
from dnworker.events.brokers.jetstream.first_contact import check_servers
from dnworker.events.brokers.jetstream.servers import parse_servers

from .certificates import make_authority, make_certificate

SECRET = "s3cr3t-w0rd"
SEED = "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY"
USER = 'authorization { user: node, password: "s3cr3t-w0rd" }\n'


async def refusal(url: str, **options: Any) -> str:
    """Return the one line with which servers are refused."""
    with pytest.raises(BrokerError) as caught:
        await asyncio.wait_for(check_servers(parse_servers(url), options), 30)
    said = str(caught.value)
    assert "\n" not in said
    assert SECRET not in said
    assert SEED not in said
    return said


@asynccontextmanager
async def saying(line: bytes) -> AsyncIterator[str]:
    """Serve what says a line and hangs then; gives its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def jetstream(tmp_path: Path) -> str:
    return f"jetstream {{ store_dir: {json.dumps(str(tmp_path / 'kept'))} }}\n"


async def test_a_server_of_today_with_jetstream_is_taken(tmp_path):
    with nats_server(tmp_path) as server:
        await check_servers(parse_servers(server.url), {})


async def test_no_server_is_refused():
    port = free_ports(1)[0]
    assert await refusal(f"nats://127.0.0.1:{port}") == (
        f"no server answers at 127.0.0.1:{port} (connection refused); start one, such as with: nats-server --jetstream"
    )


async def test_a_host_that_nobody_knows_is_refused():
    said = await refusal("nats://no-such-host.invalid")
    assert said.startswith(
        "no server answers at no-such-host.invalid:4222 (the name of the host is not known)"
    )


async def test_one_server_of_several_is_enough(tmp_path):
    with nats_server(tmp_path) as server:
        await check_servers(parse_servers(f"nats://127.0.0.1:{free_ports(1)[0]},127.0.0.1:{server.port}"), {})


async def test_the_reason_of_each_server_is_said():
    one, other = free_ports(2)
    said = await refusal(f"nats://127.0.0.1:{one},127.0.0.1:{other}")
    assert f"127.0.0.1:{one} (" in said
    assert f"127.0.0.1:{other} (" in said


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"INFO nonsense\r\n",
        b"INFO []\r\n",
        b"INFO " + b"x" * 100_000,
    ],
)
async def test_what_is_no_nats_server_is_refused(line):
    async with saying(line) as place:
        assert await refusal(f"nats://{place}") == (
            f"what answers at {place} is no NATS server; its port is 4222 where none is set"
        )


async def test_a_server_that_says_nothing_is_refused_in_time(monkeypatch):
    monkeypatch.setattr(first_contact, "WAIT_SECONDS", 0.1)
    async with saying(b"") as place:
        assert (await refusal(f"nats://{place}")).startswith(
            f"no server answers at {place} (nothing answered within 0.1 s)"
        )


@pytest.mark.parametrize("version", ["2.9.10", "2.10.29", "1.4.1", "", "unknown"])
async def test_an_old_server_is_refused(version):
    async with saying(b'INFO {"version": "%s"}\r\n' % version.encode()) as place:
        assert await refusal(f"nats://{place}") == (
            f"the server at {place} is NATS {version or 'of an unknown version'}, and 2.11 or later is needed; "
            "install it from https://nats.io/download"
        )


async def test_a_server_without_jetstream_is_refused(tmp_path):
    with nats_server(tmp_path, config="") as server:
        assert await refusal(server.url) == (
            f"the server at 127.0.0.1:{server.port} runs without JetStream; turn it on: nats-server --jetstream, or "
            "jetstream {} in its file"
        )


async def test_an_account_without_jetstream_is_refused(tmp_path, jetstream):
    accounts = f'accounts {{ A: {{ users: [{{ user: node, password: "{SECRET}" }}] }} }}\n'
    with nats_server(tmp_path, config=jetstream + accounts) as server:
        said = await refusal(server.url, user="node", password=SECRET)
        assert said.endswith(
            "runs without JetStream for this account; turn it on: jetstream: enabled in its account"
        )


async def test_missing_and_wrong_credentials_are_refused(tmp_path, jetstream):
    with nats_server(tmp_path, config=jetstream + USER) as server:
        place = f"the server at 127.0.0.1:{server.port}"
        assert await refusal(server.url) == (
            f"{place} wants credentials; give --creds FILE, or NATS_USER and NATS_PASSWORD in the environment"
        )
        assert await refusal(server.url, user="node", password=SECRET + "x") == (
            f"{place} refuses the credentials (is the user known there?); check the file, or user and password"
        )
        await check_servers(parse_servers(server.url), {"user": "node", "password": SECRET})


async def test_the_seed_of_an_nkey_signs_in(tmp_path, jetstream):
    import nkeys

    seed = tmp_path / "node.nk"
    seed.write_text(SEED + "\n")
    key = nkeys.from_seed(SEED.encode()).public_key.decode()
    with nats_server(
        tmp_path, config=f"{jetstream}authorization {{ users: [{{ nkey: {key} }}] }}\n"
    ) as server:
        assert is_seed(seed)
        await check_servers(parse_servers(server.url), {"nkeys_seed": seed})
        seed.write_text(SEED[:9] + ("A" if SEED[9] != "A" else "B") + SEED[10:])
        assert "credentials" in await refusal(server.url, nkeys_seed=seed)


async def test_a_user_who_may_not_ask_jetstream_is_told_where_the_permissions_are(
    tmp_path, jetstream, monkeypatch
):
    monkeypatch.setattr(first_contact, "WAIT_SECONDS", 0.5)
    users = f'authorization {{ users: [{{ user: node, password: "{SECRET}", permissions: {{ publish: "x", subscribe: "_INBOX.>" }} }}] }}\n'
    with nats_server(tmp_path, config=jetstream + users) as server:
        assert await refusal(server.url, user="node", password=SECRET) == (
            f"the user may not ask JetStream at 127.0.0.1:{server.port} ($JS.API.INFO); give it the permissions of "
            "examples/cluster/permissions.conf"
        )


async def test_a_password_is_not_sent_as_plain_text_where_tls_is_asked_for(tmp_path):
    with nats_server(tmp_path) as server:
        said = await refusal(server.url.replace("nats", "tls"), user="node", password=SECRET)
        assert said.startswith(
            f"the server at 127.0.0.1:{server.port} does not ask for TLS, so a password would be sent as plain text"
        )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")
async def test_certificates_that_are_not_accepted_are_refused(tmp_path, jetstream):
    ca = make_authority(tmp_path / "ours")
    cert, key = make_certificate(ca, "server")
    mine, my_key = make_certificate(ca, "node")
    other, other_key = make_certificate(make_authority(tmp_path / "theirs"), "stranger")
    tls = f"tls {{ cert_file: {json.dumps(str(cert))}, key_file: {json.dumps(str(key))}"
    with nats_server(tmp_path / "plain", config=f"{jetstream}{tls} }}\n") as server:
        place, url = f"127.0.0.1:{server.port}", server.url.replace("nats", "tls")
        await check_servers(parse_servers(url), {"tls": tls_context(ca, None, None)})
        said = await refusal(url)
        assert said.startswith(f"the certificate of the server at {place} is not accepted (")
        assert said.endswith("name the file of the CA that signed it: --broker-ca FILE")
        assert (await refusal(url, tls=tls_context(other, None, None))).startswith(
            f"the certificate of the server at {place}"
        )
    verified = f"{jetstream}{tls}, ca_file: {json.dumps(str(ca))}, verify: true }}\n"
    with nats_server(tmp_path / "verified", config=verified) as server:
        place, url = f"127.0.0.1:{server.port}", server.url.replace("nats", "tls")
        await check_servers(parse_servers(url), {"tls": tls_context(ca, mine, my_key)})
        for context in (tls_context(ca, None, None), tls_context(ca, other, other_key)):
            assert "--broker-cert FILE --broker-key FILE" in await refusal(url, tls=context)
