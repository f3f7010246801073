"""`QuietUvicorn`: uvicorn on somebody else's loop; the runtime's server and the test model server use it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn


class QuietUvicorn(uvicorn.Server):
    """uvicorn that leaves signals alone and says when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: they belong to the kernel or to the command line."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; `listening` is set then."""
        await super().startup(sockets)
        self.listening.set()
