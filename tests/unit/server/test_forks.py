"""Children that are forked in a runtime's process, as by `multiprocessing`, and outlive its server."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import pytest
import uvloop

from dnworker import Runtime

from .raw import GOOD, raw, read_all

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture
def fork():
    """Start a child that sleeps; ended after the test."""
    children = []

    def start() -> None:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        children.append(child)

    yield start
    for child in children:
        child.kill()
        child.join()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine function on a loop."""

    def run(main: Callable[[], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return run


def test_a_forked_child_holds_neither_the_port_nor_the_connections_of_a_server_that_has_ended(fork, run):
    @run
    async def _() -> None:
        runtime = Runtime(port=0, token="s3cret")
        await runtime.start()
        port = urlsplit(runtime.url).port
        async with raw(runtime) as (reader, writer):
            writer.write(GOOD)
            await reader.readuntil(b"\r\n\r\n")
            fork()
            await runtime.stop()
            async with asyncio.timeout(30):
                await read_all(reader)  # a copy of the connection in the child would keep it open
            socket.create_server(("127.0.0.1", port)).close()


def test_a_server_goes_on_beside_a_forked_child(fork, run):
    @run
    async def _() -> None:
        async with Runtime(port=0, token="s3cret") as runtime, raw(runtime) as (reader, writer):
            fork()
            writer.write(GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (await read_all(reader)).startswith(b"HTTP/1.1 200 ")
