"""`StdioServer`: a server's process and its JSON lines as the streams of an MCP session; for `session`.

The official library has such a transport, too. This one bounds each line, drops notifications that nobody
wants before they are parsed, and leaves the server in the process group of the host, which ends with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import ErrorData, JSONRPCError, JSONRPCRequest, jsonrpc_message_adapter

from dnworker.mcp_client.frames import LONGEST_ANSWER, LONGEST_MESSAGE, Connect
from dnworker.mcp_client.host.lines import LineSplitter, TooLong, id_in
from dnworker.mcp_client.host.notices import Notices

CHUNK = 65_536

CLOSE_SECONDS = 2.0
"""Seconds in which a server is to end after its input was closed."""

MOST_REQUESTS = 100
"""Requests of a server that are not answered yet; more are dropped."""

REFUSED = -32001
"""The code of the error that takes the place of an answer which is too long, or no message."""

TOO_DEEP = "the answer is nested too deeply"

LOOK = 0.02

RUN = "DNWORKER_RUN"

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class _Envelope(msgspec.Struct):
    """What of a line tells a notification from the rest."""

    method: str = ""
    id: int | str | None = None
    params: Any = None


class StdioServer:
    """One run of a server.

    Args:
        connect: its command.
        notices: gets its notifications.
        on_end: called with why, once its output has ended.
    """

    def __init__(self, connect: Connect, notices: Notices, on_end: Callable[[str], None]) -> None:
        self._connect = connect
        self._notices = notices
        self._on_end = on_end
        self._pending: set[int | str] = set()
        """The ids of our requests that it has not answered."""
        self._open_requests = 0
        """Its requests that we have not answered."""
        self._decoder = msgspec.json.Decoder(_Envelope)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[Streams]:
        """Start the server and yield its streams; end it afterwards.

        Raises:
            OSError: it cannot be started.
        """
        connect = self._connect
        assert connect.command is not None
        process = await asyncio.create_subprocess_exec(
            connect.command,
            *connect.args,
            env={**connect.env, RUN: os.environ.get(RUN, "")},
            cwd=connect.cwd,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=CHUNK,
        )
        to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read, process, to_session)
            tasks.start_soon(self._write, process, from_session)
            try:
                yield incoming, outgoing
            finally:
                with anyio.CancelScope(shield=True):
                    await _end(process)
                tasks.cancel_scope.cancel()

    async def _read(
        self, process: asyncio.subprocess.Process, to: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        assert process.stdout is not None
        splitter = LineSplitter(LONGEST_MESSAGE)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with to:
                while chunk := await process.stdout.read(CHUNK):
                    for line in splitter.feed(chunk):
                        for message in self._messages(line):
                            await to.send(message)
                self._on_end(await _how_it_ended(process))

    def _messages(self, line: bytes | TooLong) -> list[SessionMessage]:
        if isinstance(line, TooLong):
            return self._refused(line.id, too_long(line.size))
        if not line.strip():
            return []
        envelope = _Envelope()
        try:
            envelope = self._decoder.decode(line)
            if envelope.method and envelope.id is None:
                self._notices.take(envelope.method, envelope.params)
                return []
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except RecursionError:
            return self._refused(id_in(line), TOO_DEEP)
        except (msgspec.DecodeError, ValueError) as exc:
            if envelope.method or envelope.id not in self._pending:
                self._notices.note_garbage(line)
                return []
            what = TOO_DEEP if "recursion limit" in str(exc) else "the answer is no message of MCP"
            return self._refused(envelope.id, what)
        if envelope.method:
            if self._open_requests >= MOST_REQUESTS:
                self._notices.note_dropped("requests")
                return []
            self._open_requests += 1
        elif envelope.id is not None:
            self._pending.discard(envelope.id)
        return [SessionMessage(message)]

    def _refused(self, answered: int | str | None, text: str) -> list[SessionMessage]:
        """Return errors in the place of an answer: of the request it belongs to, else of all."""
        ids = [answered] if answered in self._pending else sorted(self._pending, key=str)
        if not ids:
            self._notices.note_garbage(text.encode())
        self._pending.difference_update(ids)
        error = ErrorData(code=REFUSED, message=text)
        return [
            SessionMessage(JSONRPCError(jsonrpc="2.0", id=one, error=error)) for one in ids if one is not None
        ]

    async def _write(
        self, process: asyncio.subprocess.Process, source: MemoryObjectReceiveStream[SessionMessage]
    ) -> None:
        assert process.stdin is not None
        with suppress(ConnectionError, RuntimeError):  # the reader says that it is gone
            async with source:
                async for item in source:
                    message = item.message
                    if isinstance(message, JSONRPCRequest):
                        self._pending.add(message.id)
                    elif not hasattr(message, "method"):
                        self._open_requests = max(0, self._open_requests - 1)
                    data = message.model_dump_json(by_alias=True, exclude_unset=True)
                    process.stdin.write(data.encode() + b"\n")
                    await process.stdin.drain()


def too_long(size: int) -> str:
    """Return what a model is told in the place of an answer that is too long."""
    return f"the answer has {size:,} bytes; at most {LONGEST_ANSWER:,}"


async def _how_it_ended(process: asyncio.subprocess.Process) -> str:
    """Return how a server ended whose output has, as it does within a moment."""
    code = await _exit(process, 0.5)
    if code is None:
        return "it closed its output and goes on"
    return f"it was ended by {_signal_name(-code)}" if code < 0 else f"it exited with code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


async def _exit(process: asyncio.subprocess.Process, seconds: float) -> int | None:
    """Return the exit code; None while it runs. It polls: `wait` waits for pipes that others may hold."""
    for _ in range(max(1, round(seconds / LOOK))):
        if process.returncode is not None:
            break
        await asyncio.sleep(LOOK)
    return process.returncode


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a server as the protocol has it: close its input, wait, SIGTERM, SIGKILL."""
    assert process.stdin is not None
    process.stdin.close()
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            with suppress(ProcessLookupError):
                process.send_signal(number)
        if await _exit(process, CLOSE_SECONDS) is not None:
            break
    else:
        print(f"process {process.pid} of the server cannot be ended", file=sys.stderr, flush=True)
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()  # pipes that a grandchild may hold
