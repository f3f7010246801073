"""`Link`: the host's side of the connection to its runtime; for `session`."""

from __future__ import annotations

import asyncio
import socket

from dnworker.mcp_client import frames
from dnworker.mcp_client.frames import Message, Request


class Link:
    """Sends messages to the runtime and reads its requests.

    Args:
        reader: what the runtime sends.
        writer: what the host sends.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def of(cls, descriptor: int) -> Link:
        """Return the link over an open socket."""
        made = socket.socket(fileno=descriptor)
        made.set_inheritable(False)  # a server must not hold it open
        made.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=made))

    async def send(self, message: Message) -> None:
        """Send a message and wait while the runtime does not read; nothing happens once it is gone."""
        try:
            self._writer.write(frames.encode(message))
            await self._writer.drain()
        except ConnectionError:
            return

    async def next(self) -> Request | None:
        """Return the next request; None once the runtime is gone.

        Raises:
            BadFrame: what came is none.
        """
        request: Request | None = await frames.read(self._reader, Request)
        return request
