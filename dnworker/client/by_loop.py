"""`ByLoop`: what a client has open on each event loop that uses it; used by `http`.

Connections belong to the loop that opened them: one that another thread's `asyncio.run` has left behind fails
with "Event loop is closed" for everybody who gets it from a shared pool.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnworker.client.sender import Sender
    from dnworker.client.socket import InteractiveSocket


class OnLoop:
    """What is open on one loop.

    Attributes: `loop`, `is_first` (whether the client has used no other since it was made or closed),
    `at_once` (a semaphore of requests), `sender` (what requests go out by) and `socket` (for commands); the
    last two are None until they are needed.
    """

    __slots__ = ("_closing", "at_once", "is_first", "loop", "sender", "socket")

    def __init__(self, loop: asyncio.AbstractEventLoop, at_once: int, *, is_first: bool) -> None:
        self.loop = loop
        self.is_first = is_first
        self.at_once = asyncio.Semaphore(at_once)
        self.sender: Sender | None = None
        self.socket: InteractiveSocket | None = None
        self._closing: asyncio.Task[None] | None = None  # loops refer to their tasks weakly

    def begin_close(self) -> None:
        """Close what is open, soon; to be called on this loop."""
        self._closing = self.loop.create_task(self.close())

    async def close(self) -> None:
        """Close what is open; to be awaited on this loop."""
        socket, self.socket = self.socket, None
        if socket is not None:
            await socket.close()
        sender, self.sender = self.sender, None
        if sender is not None:
            await sender.aclose()


class ByLoop:
    """What is open on each loop; what belongs to loops that are closed is let go."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._is_used = False
        self._newest: OnLoop | None = None  # of the loop that asked last: nearly always the only one
        self._all: dict[asyncio.AbstractEventLoop, OnLoop] = {}

    def here(self) -> OnLoop:
        """Return what is open on the running loop."""
        loop, newest = asyncio.get_running_loop(), self._newest
        if newest is not None and newest.loop is loop:
            return newest
        found = self._all.get(loop)
        if found is None:
            for other in [one for one in list(self._all) if one.is_closed()]:
                self._all.pop(other, None)
            found = self._all[loop] = OnLoop(loop, self._at_once, is_first=not self._is_used)
            self._is_used = True
        self._newest = found
        return found

    async def close(self) -> None:
        """Close what is open on the running loop, and have other loops close theirs in their next turn."""
        opened, self._all, self._newest, self._is_used = self._all, {}, None, False
        own = opened.pop(asyncio.get_running_loop(), None)
        for one in list(opened.values()):
            with suppress(RuntimeError):  # that loop is closed
                one.loop.call_soon_threadsafe(one.begin_close)
        if own is not None:
            await own.close()
