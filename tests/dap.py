"""A client of the Debug Adapter Protocol over a socket, as an editor is one: JSON behind `Content-Length`."""

from __future__ import annotations

import itertools
import json
import socket
import time
from typing import Any

LIMIT = 50.0
"""Seconds after which something hangs."""


class DebugClient:
    """Attaches to what listens on a port of this machine; blocks, so a test on a loop runs it in a thread."""

    def __init__(self, port: int) -> None:
        self._numbers = itertools.count(1)
        self._port = port
        self._socket = self._connect(port)
        self._file = self._socket.makefile("rb")
        self._events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self.thread = 0
        """The thread that stopped last."""

    @staticmethod
    def _connect(port: int) -> socket.socket:
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
            except ConnectionRefusedError:  # the process is on its way
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def send(self, command: str, **arguments: Any) -> int:
        """Send a request; returns its number."""
        number = next(self._numbers)
        message = {"seq": number, "type": "request", "command": command, "arguments": arguments}
        data = json.dumps(message).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        return number

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request, and return the body of its answer."""
        return self.answer(self.send(command, **arguments))

    def answer(self, number: int) -> dict[str, Any]:
        """Return the body of the answer to a request.

        Raises:
            RuntimeError: the debugger refuses.
        """
        while number not in self._answers:
            self._read()
        answer = self._answers.pop(number)
        if not answer["success"]:
            raise RuntimeError(f"{answer['command']}: {answer.get('message')}")
        body: dict[str, Any] = answer.get("body") or {}
        return body

    def until(self, event: str) -> dict[str, Any]:
        """Return the body of the next event of this name."""
        while True:
            for one in self._events:
                if one["event"] == event:
                    self._events.remove(one)
                    body: dict[str, Any] = one.get("body") or {}
                    self.thread = body.get("threadId", self.thread)
                    return body
            self._read()

    def _read(self) -> None:
        size = 0
        while (line := self._file.readline().strip()) or not size:
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
            elif not line:
                raise ConnectionError("the debugger has closed the connection")
        message = json.loads(self._file.read(size))
        if message["type"] == "event":
            self._events.append(message)
        elif message["type"] == "response":
            self._answers[message["request_seq"]] = message

    def attach(self, breakpoints: dict[str, list[int]], **arguments: Any) -> None:
        """Attach with breakpoints by the path of their file, and let a process that waits begin."""
        self.ask(
            "initialize", adapterID="debugpy", linesStartAt1=True, columnsStartAt1=True, pathFormat="path"
        )
        where = {"host": "127.0.0.1", "port": self._port}
        attached = self.send("attach", **{"connect": where, "justMyCode": True} | arguments)
        self.until("initialized")
        for path, lines in breakpoints.items():
            found = self.ask(
                "setBreakpoints", source={"path": path}, breakpoints=[{"line": n} for n in lines]
            )
            assert [one["line"] for one in found["breakpoints"]] == lines
        self.ask("configurationDone")
        self.answer(attached)

    def frames(self) -> list[dict[str, Any]]:
        """Return the frames of the thread that stopped last, the innermost first."""
        found: list[dict[str, Any]] = self.ask("stackTrace", threadId=self.thread)["stackFrames"]
        return found

    def variables(self, frame: dict[str, Any]) -> dict[str, str]:
        """Return the local variables of a frame, as text."""
        scopes = self.ask("scopes", frameId=frame["id"])["scopes"]
        found = self.ask("variables", variablesReference=scopes[0]["variablesReference"])
        return {one["name"]: one["value"] for one in found["variables"]}

    def go_on(self) -> None:
        """Let the thread that stopped run on."""
        self.ask("continue", threadId=self.thread)

    def close(self) -> None:
        """Go away without a word, as a crashed editor does."""
        self._file.close()
        self._socket.close()
