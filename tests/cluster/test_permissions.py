"""The configurations of examples/cluster: a real server takes them, and nodes may do what they need and no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from nats_servers import nats_server

from dnworker import Runtime, Worker
from dnworker.core.errors import BrokerError
from dnworker.events.brokers.jetstream.broker import JetStreamBroker
from dnworker.events.brokers.jetstream.connecting import ServerSettings
from dnworker.events.brokers.messages import Unreachable
from dnworker.testing.nats_server import NatsServer

EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"
PASSWORDS = {"DNWORKER_PASSWORD": "p-of-nodes", "NATS_ADMIN_PASSWORD": "p-of-admin"}
FOREIGN = [
    "dnw.test.ev.x._.s.kind",
    "$KV.dnw-test.hold.x",
    "$JS.API.STREAM.INFO.dnw-test-ev",
    "$JS.API.STREAM.CREATE.dnw-test-ev",
    "$JS.API.STREAM.DELETE.dnw-prod-ev",
    "$JS.API.STREAM.PURGE.dnw-prod-ev",
    "$JS.API.STREAM.UPDATE.dnw-prod-ev",
    "$JS.API.STREAM.MSG.GET.dnw-test-ev",
    "$JS.API.DIRECT.GET.KV_dnw-test.$KV.dnw-test.hold.x",
    "$JS.API.CONSUMER.CREATE.dnw-test-ev.c",
    "$JS.API.STREAM.NAMES",
    "_INBOX.dnw.test.x",
    "orders",
]


def of_example(name: str, directory: Path) -> str:
    """Return a configuration of the examples, with its address and directory replaced by those of a test."""
    text = (EXAMPLES / name).read_text()
    for line in text.splitlines():
        if line.startswith("listen:"):
            text = text.replace(line, "")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "permissions.conf").write_text((EXAMPLES / "permissions.conf").read_text())
    return text.replace('"/var/lib/nats"', json.dumps(str(directory / "kept")))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    config = of_example("nats-one.conf", tmp_path)
    with nats_server(tmp_path, config=config, environment=PASSWORDS) as server:
        yield server


def settings(server: NatsServer, namespace: str = "prod") -> ServerSettings:
    return ServerSettings(
        servers=(server.url,),
        namespace=namespace,
        user="dnworker-prod",
        password=PASSWORDS["DNWORKER_PASSWORD"],
    )


async def test_two_nodes_work_with_the_permissions_to_paste_and_are_refused_nothing(server):
    handled = []
    worker = Worker(name="bridge")

    @worker.on_event("demo.go")
    async def go(event, client):
        async with client.once(f"go-{event.payload['n']}") as is_first:
            handled.append((event.payload["n"], is_first))

    async with (
        Runtime(port=None, broker=JetStreamBroker(settings(server)), node="a") as one,
        Runtime(port=None, broker=JetStreamBroker(settings(server)), node="b") as other,
    ):
        await one.add(worker)
        for n in range(20):
            await other.client().publish("demo.go", {"n": n}, dedupe=f"n{n}")
        await asyncio.wait_for(_until(lambda: len(handled) == 20), 20)
        end = one.bus.broker.messages.serve("ask", _echo)
        assert await asyncio.wait_for(_answer(other.bus.broker.messages), 20) == b"x"
        end()
    assert sorted(handled) == [(n, True) for n in range(20)]
    log = server.log.read_text()
    assert "Violation" not in log


async def test_a_node_cannot_touch_another_namespace(server):
    refused: list[str] = []

    async def note(exc):
        refused.append(str(exc))

    client = await nats.connect(
        server.url, user="dnworker-prod", password=PASSWORDS["DNWORKER_PASSWORD"],
        inbox_prefix="_INBOX.dnw.prod", error_cb=note,
    )  # fmt: skip
    try:
        for subject in FOREIGN:
            await client.publish(subject, b"{}")
        for subject in ("dnw.test.>", "$KV.dnw-test.>", "_INBOX.>", ">", "$JS.EVENT.>"):
            await client.subscribe(subject)
        await client.flush()
        await asyncio.wait_for(_until(lambda: len(refused) >= len(FOREIGN) + 5), 10)
    finally:
        await client.close()
    for subject in FOREIGN:
        assert any(f'"{subject.lower()}"' in line.lower() for line in refused), subject


async def test_a_namespace_that_is_not_the_users_is_refused_in_one_line(server):
    runtime = Runtime(port=None, broker=JetStreamBroker(settings(server, "test")))
    with pytest.raises(BrokerError) as caught:
        await runtime.start()
    await runtime.stop()
    said = str(caught.value)
    assert "\n" not in said
    assert "examples/cluster/permissions.conf" in said


@pytest.mark.parametrize("name", ["nats-one.conf", "nats-three.conf"])
def test_a_real_server_takes_the_configuration(name, tmp_path):
    import subprocess

    from dnworker.testing.nats_server import find_server

    file = tmp_path / name
    file.write_text(of_example(name, tmp_path))
    routes = {f"NATS_{n}": f"nats://127.0.0.1:{n}" for n in (1, 2, 3)} | {"NATS_NAME": "nats-1"}
    command = [str(find_server()), "--config", str(file), "-t"]
    done = subprocess.run(command, env=PASSWORDS | routes, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr


async def _answer(messages) -> bytes:
    """Return the answer to a request, once what serves it is known to the server."""
    while True:
        try:
            return await messages.request("ask", b"x", 5)
        except Unreachable:
            await asyncio.sleep(0.01)


async def _echo(data: bytes) -> bytes:
    return data


async def _until(is_so) -> None:
    while not is_so():
        await asyncio.sleep(0.01)
