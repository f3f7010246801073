"""How many connections may be open, and which must go, over real sockets."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from contextlib import AsyncExitStack

import httpx
import pytest

from dnworker import Runtime
from dnworker.core.limits import Limits
from dnworker.server.connections import fitting

from .raw import exchange, raw, read_all, statuses, until_closed

HALF = b"GET /api/runtime HTTP/1.1\r\nHost: localhost\r\n"
WITH_TOKEN = b"GET /api/runtime HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"


def runtime(**limits):
    return Runtime(port=0, token="s3cret", limits=Limits(**limits))


async def is_well(served):
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        return (
            await client.get("/api/runtime", headers={"Authorization": "Bearer s3cret"})
        ).status_code == 200


async def test_strangers_give_way_to_those_who_come_after_them_the_oldest_first(caplog):
    async with runtime(unauthenticated=4) as served, AsyncExitStack() as stack:
        opened = []
        for _ in range(10):
            opened.append(await stack.enter_async_context(raw(served)))
            opened[-1][1].write(HALF)
            await asyncio.sleep(0.01)
            assert served.server.connections.strangers <= 4
        assert await is_well(served)
        for reader, _ in opened[:6]:
            assert await read_all(reader) == b""
        said = [r.getMessage() for r in caplog.records if "limit unauthenticated" in r.getMessage()]
        assert len(said) == 1


async def test_who_has_shown_a_token_stays_however_many_strangers_come():
    async with runtime(unauthenticated=4, connections=6) as served, AsyncExitStack() as stack:
        reader, writer = await stack.enter_async_context(raw(served))
        writer.write(WITH_TOKEN)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        for _ in range(30):
            await stack.enter_async_context(raw(served))
        async with asyncio.timeout(60):
            while served.server.connections.strangers < 4:
                await asyncio.sleep(0.01)
        writer.write(WITH_TOKEN)
        rest = b""
        while b"HTTP/1.1 200 " not in rest:
            rest += await reader.read(10_000)


async def test_when_all_have_shown_a_token_more_are_told_503():
    async with runtime(connections=3) as served, AsyncExitStack() as stack:
        for _ in range(3):
            reader, writer = await stack.enter_async_context(raw(served))
            writer.write(WITH_TOKEN)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        answer = await exchange(served, b"")
        assert statuses(answer) == [503]
        assert b"limit of connections" in answer
        await stack.aclose()
        await until_closed(served)
        assert await is_well(served)


async def test_without_descriptors_the_oldest_stranger_goes_and_nothing_is_a_traceback(caplog, monkeypatch):
    async with runtime() as served, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(raw(served))
        async with asyncio.timeout(60):
            while served.server.connections.strangers < 3:
                await asyncio.sleep(0.01)
        accept, failures = socket.socket.accept, iter([True, True, True])

        def accept_if_there_is_room(listener):
            if next(failures, False):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return accept(listener)

        monkeypatch.setattr(socket.socket, "accept", accept_if_there_is_room)
        assert await is_well(served)
        assert served.server.connections.strangers == 0
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [r.exc_info for r in warnings] == [None]
    assert "ulimit -n" in warnings[0].getMessage()


async def test_without_descriptors_and_strangers_a_newcomer_is_told_503(monkeypatch):
    async with runtime() as served:
        accept, failures = socket.socket.accept, iter([True])

        def accept_if_there_is_room(listener):
            if next(failures, False):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return accept(listener)

        monkeypatch.setattr(socket.socket, "accept", accept_if_there_is_room)
        assert statuses(await exchange(served, b"")) == [503]
        assert await is_well(served)


@pytest.mark.parametrize(
    ("descriptors", "connections", "unauthenticated"),
    [(64, 32, 16), (256, 192, 96), (1024, 768, 128), (4096, 1024, 128), (-1, 1024, 128), (10, 2, 1)],
)
def test_limits_fit_into_the_descriptors_of_the_process(descriptors, connections, unauthenticated):
    fitted = fitting(Limits(), descriptors)
    assert (fitted.connections, fitted.unauthenticated) == (connections, unauthenticated)


async def test_a_stopped_runtime_leaves_no_connection_open():
    async with runtime() as served, AsyncExitStack() as stack:
        readers = []
        for sent in (b"", HALF, WITH_TOKEN):
            reader, writer = await stack.enter_async_context(raw(served))
            writer.write(sent)
            readers.append(reader)
        async with asyncio.timeout(60):
            while len(served.server.connections) < 3:
                await asyncio.sleep(0.01)
        connections = served.server.connections
        await served.stop()
        assert len(connections) == 0
        for reader in readers:
            await read_all(reader)


@pytest.mark.parametrize("has_begun", [True, False], ids=["half a request", "nothing yet"])
async def test_the_time_in_which_a_handler_blocks_the_loop_is_nobodys_delay(has_begun):
    async with runtime(header_seconds=0.3, body_seconds=0.5) as served, raw(served) as (reader, writer):
        if has_begun:
            writer.write(HALF)
        while not served.server.connections.strangers:
            await asyncio.sleep(0)
        time.sleep(0.8)  # as a handler does
        await asyncio.sleep(0.05)  # the server looks at its connections
        writer.write(b"\r\n" if has_begun else WITH_TOKEN)
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 " if has_begun else b"HTTP/1.1 200 ")
