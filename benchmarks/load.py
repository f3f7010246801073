"""Asks servers and counts their answers: a process of its own, on a core of its own where there are two.

It takes its task as JSON in its argument, and parses nothing that it need not: a client that is slower than
the server would be what is measured. `busy` is the share of its time that it worked; near 1, it was that.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

PATIENCE = 60.0
"""Seconds without an answer after which it gives up."""


def cores() -> tuple[set[int], set[int]] | None:
    """Return the cores of the servers and that of the load; None where there are not two."""
    every = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ({*every[:-1]}, {every[-1]}) if len(every) > 1 else None


def pin_server(pid: int) -> None:
    """Keep a process that was just started, and what it starts, off the core of the load."""
    if (found := cores()) is not None:
        os.sched_setaffinity(pid, found[0])


class Counter:
    """Counts how often a text comes over one socket, also where it is cut in two."""

    def __init__(self, sock: socket.socket, text: bytes) -> None:
        self.socket = sock
        self._text = text
        self._rest = b""

    def read(self) -> int:
        """Return how often the text came just now.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        data = self._rest + self.socket.recv(2**18)
        if len(data) == len(self._rest):
            raise ConnectionError("the server closed a connection")
        self._rest = data[len(data) - len(self._text) + 1 :] if len(data) >= len(self._text) else data
        return data.count(self._text)


def connected(host: str, port: int) -> socket.socket:
    """Return an open connection."""
    sock = socket.create_connection((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def head_of(sock: socket.socket) -> bytes:
    """Read the head of an answer, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionError(f"the server closed a connection after {head!r}")
        head += byte
    return head


def post(host: str, port: int, request: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Return answered requests a second, one at a time on each of the connections."""
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        sock = connected(host, port)
        selector.register(sock, selectors.EVENT_READ, Counter(sock, b"HTTP/1.1 200"))
        sock.sendall(request)
    answered, began, worked = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        for key, _ in selector.select(PATIENCE):
            if count := key.data.read():
                answered += count
                key.data.socket.send(request)
    took = time.perf_counter() - began
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    if not answered:
        raise ConnectionError("no request was answered with 200")
    return {"rate": answered / took, "busy": (time.process_time() - worked) / took}


def receive(
    host: str,
    port: int,
    upgrade: bytes,
    subscribers: int,
    text: bytes,
    trigger: bytes,
    count: int,
    is_repeated: bool,
) -> dict[str, float]:
    """Return frames a second, from the request that has events published to the last frame of all.

    Args:
        upgrade, trigger: the requests that open a WebSocket, and that have events published.
        text: stands once in each frame.
        count: events that are published.
        is_repeated: whether each event needs a request of its own; they go one after the other.
    """
    selector = selectors.DefaultSelector()
    for _ in range(subscribers):
        sock = connected(host, port)
        sock.sendall(upgrade)
        if b" 101 " not in (head := head_of(sock)):
            raise ConnectionError(f"no WebSocket: {head!r}")
        selector.register(sock, selectors.EVENT_READ, Counter(sock, text))
    start, wanted, got = connected(host, port), count * subscribers, 0
    asked = Counter(start, b"HTTP/1.1 200")
    left = count - 1 if is_repeated else 0
    if is_repeated:
        selector.register(start, selectors.EVENT_READ, asked)
    began, worked = time.perf_counter(), time.process_time()
    start.sendall(trigger)
    while got < wanted:
        ready = selector.select(PATIENCE)
        if not ready:
            raise TimeoutError(f"{got} of {wanted} frames came")
        for key, _ in ready:
            seen = key.data.read()
            if key.data is not asked:
                got += seen
            elif seen and left:
                left -= 1
                start.sendall(trigger)
    took = time.perf_counter() - began
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    start.close()
    return {"rate": wanted / took, "busy": (time.process_time() - worked) / took}


def main(arguments: Sequence[str]) -> None:
    """Do what the argument says, and print what was measured."""
    if (found := cores()) is not None:
        os.sched_setaffinity(0, found[1])
    task: dict[str, Any] = json.loads(arguments[0])
    how = {key: value.encode() if isinstance(value, str) else value for key, value in task.items()}
    ways: dict[bytes, Callable[..., dict[str, float]]] = {b"post": post, b"receive": receive}
    do = ways[how.pop("do")]
    print(json.dumps(do(task["host"], **{key: value for key, value in how.items() if key != "host"})))


if __name__ == "__main__":
    main(sys.argv[1:])
