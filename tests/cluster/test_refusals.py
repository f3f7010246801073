"""`dnworker serve --broker`: what cannot be used ends it with one line and the way out, and with code 1."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import nats
import pytest
from cluster import Node
from nats_servers import free_ports, nats_server

from dnworker.core.errors import BrokerError
from dnworker.events.brokers.jetstream.broker import JetStreamBroker
from dnworker.events.brokers.jetstream.connecting import ServerSettings
from dnworker.runtime import Runtime
from dnworker.testing.nats_server import NatsServer

pytestmark = pytest.mark.slow

SECRET = "s3cr3t-w0rd"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


def serve(directory: Path, *arguments: str, **variables: str) -> str:
    """Return the one line with which `serve` ends."""
    home = directory / "home"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "dnworker", "serve", "--port", "0", *arguments]
    environment = os.environ | {"HOME": str(home)} | variables
    done = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def test_no_server(tmp_path):
    port = free_ports(1)[0]
    said = serve(tmp_path, "--broker", f"nats://u:{SECRET}@127.0.0.1:{port}", "--namespace", "prod")
    assert said == (
        f"dnworker: no server answers at 127.0.0.1:{port} (connection refused); start one, such as with: "
        "nats-server --jetstream (DN801)"
    )


def test_wrong_credentials_of_each_kind(tmp_path):
    config = f'authorization {{ user: node, password: "{SECRET}" }}\njetstream {{ store_dir: {json.dumps(str(tmp_path))} }}\n'
    with nats_server(tmp_path / "nats", config=config) as server:
        host = server.url.partition("://")[2]
        joined = ("--namespace", "prod")
        assert "wants credentials; give --creds FILE" in serve(tmp_path, "--broker", server.url, *joined)
        for arguments, variables in (
            (["--broker", f"nats://node:{SECRET}x@{host}"], {}),
            (["--broker", f"nats://{SECRET}@{host}"], {}),
            (["--broker", server.url], {"NATS_USER": "node", "NATS_PASSWORD": f"{SECRET}x"}),
            (["--broker", server.url], {"NATS_TOKEN": SECRET}),
        ):
            assert "refuses the credentials" in serve(tmp_path, *arguments, *joined, **variables)


def test_a_password_from_the_environment_signs_in_and_reaches_no_worker_process(tmp_path):
    config = f'authorization {{ user: node, password: "{SECRET}" }}\njetstream {{ store_dir: {json.dumps(str(tmp_path))} }}\n'
    root = tmp_path / "cap"
    root.mkdir()
    (root / "capability.yaml").write_text(
        "schema: 1\nname: demo\nversion: 0.1.0\ndescription: d\nworkers:\n  w: {command: sh, args: ['-c', 'env > $OUT; sleep 60']}\n"
    )
    out = tmp_path / "env.txt"
    variables = {"NATS_USER": "node", "NATS_PASSWORD": SECRET, "OUT": str(out)}
    with nats_server(tmp_path / "nats", config=config) as server:
        node = Node("a", tmp_path, server.url, "t" * 40, [str(root)], variables)
        try:
            node.wait_ready()
            wait_for_text(out, "DREADNODE_RUNTIME_URL")
        finally:
            node.end()
        assert SECRET not in out.read_text()
        assert SECRET not in node.said.read_text()


def test_a_password_in_the_address_is_in_no_list_of_processes(tmp_path):
    config = f'authorization {{ user: node, password: "{SECRET}" }}\njetstream {{ store_dir: {json.dumps(str(tmp_path))} }}\n'
    with nats_server(tmp_path / "nats", config=config) as server:
        node = Node("a", tmp_path, server.url.replace("//", f"//node:{SECRET}@"), "t" * 40)
        try:
            told = node.wait_ready()
            assert (told["node"], told["namespace"], told["broker"]) == ("a", "demo", server.url)
            shown = Path(f"/proc/{node.process.pid}/cmdline").read_text()
            assert SECRET not in shown
            assert server.url.partition("://")[2] in shown
        finally:
            node.end()
        assert SECRET not in node.said.read_text()


async def test_a_namespace_of_another_version(tmp_path, server):
    settings = ServerSettings(servers=(server.url,), namespace="prod")
    runtime = Runtime(port=None, broker=JetStreamBroker(settings))
    async with runtime:
        pass
    client = await nats.connect(server.url)
    js = client.jetstream()
    info = await js.stream_info("dnw-prod-ev")
    info.config.metadata = {**(info.config.metadata or {}), "dnworker": "99"}
    await js.update_stream(info.config)
    await client.close()
    said = serve(tmp_path, "--broker", server.url, "--namespace", "prod")
    assert "the namespace prod" in said
    assert "another version of dnworker" in said
    assert "--namespace" in said


async def test_an_event_over_the_servers_limit_is_refused_and_said_with_the_limit(tmp_path):
    config = f"max_payload: 4KB\njetstream {{ store_dir: {json.dumps(str(tmp_path / 'kept'))} }}\n"
    with nats_server(tmp_path / "nats", config=config) as server:
        settings = ServerSettings(servers=(server.url,), namespace="prod")
        async with Runtime(port=None, broker=JetStreamBroker(settings)) as runtime:
            with pytest.raises(httpx.HTTPStatusError, match="takes 4,096 \\(max_payload\\)") as caught:
                await runtime.client().publish("demo.large", {"text": "x" * 5_000})
            assert caught.value.response.status_code == 413
            await runtime.client().publish("demo.small", {"text": "x"})


def test_two_nodes_of_one_name(tmp_path, server):
    first = Node("a", tmp_path, server.url, "t" * 40)
    try:
        first.wait_ready()
        said = serve(tmp_path, "--broker", server.url, "--namespace", "demo", "--node", "a")
        assert re.fullmatch(
            r"dnworker: node 'a' is in this namespace already \(process \d+ on .+\); "
            r"give this runtime another name: --node NAME \(DN808\)",
            said,
        )
    finally:
        first.end()


async def test_a_broker_that_is_refused_leaves_no_task_and_no_connection(tmp_path):
    settings = ServerSettings(servers=(f"nats://127.0.0.1:{free_ports(1)[0]}",), namespace="prod")
    import asyncio

    before = asyncio.all_tasks()
    runtime = Runtime(port=None, broker=JetStreamBroker(settings))
    with pytest.raises(BrokerError):
        await runtime.start()
    await runtime.stop()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def wait_for_text(file: Path, text: str) -> None:
    """Return when a file has a text."""
    import time

    until = time.monotonic() + 30
    while not file.exists() or text not in file.read_text():
        assert time.monotonic() < until, f"{file} does not get {text}"
        time.sleep(0.05)
