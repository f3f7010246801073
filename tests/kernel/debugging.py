"""JupyterLab's debugger as a client: debug requests on the control channel, debug events on iopub."""

from __future__ import annotations

import itertools
import queue
import time
from typing import Any

from .session import LIMIT, KernelSession


class LabDebugger:
    """Speaks the Debug Adapter Protocol with a kernel, as JupyterLab does while its bug icon is on."""

    def __init__(self, session: KernelSession) -> None:
        self._session = session
        self._numbers = itertools.count(1)
        self._cells: set[str] = set()
        self.thread = 0
        """The thread that stopped last."""
        self.events: list[dict[str, Any]] = []
        """What the kernel has said by itself, and nobody has waited for."""

    def ask(self, command: str, timeout: float = LIMIT, /, **arguments: Any) -> dict[str, Any]:
        """Send a request, and return the body of its answer.

        Raises:
            RuntimeError: the debugger refuses.
        """
        request = {
            "type": "request",
            "seq": next(self._numbers),
            "command": command,
            "arguments": arguments,
        }
        client = self._session.client
        message = client.session.msg("debug_request", request)
        client.control_channel.send(message)
        deadline = time.monotonic() + timeout
        while True:
            answer = client.get_control_msg(timeout=max(0.1, deadline - time.monotonic()))
            if answer["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                break
        content = answer["content"]
        if not content.get("success", True):
            raise RuntimeError(f"{command}: {content.get('message')}")
        body: dict[str, Any] = content.get("body") or {}
        return body

    def begin(self) -> dict[str, Any]:
        """Do what the bug icon does: start debugpy in the kernel, and attach."""
        self.ask("initialize", clientID="jupyterlab", adapterID="", linesStartAt1=True, columnsStartAt1=True)
        self.ask("attach")
        return self.ask("debugInfo")

    def break_at(self, code: str, *lines: int) -> list[int]:
        """Set the breakpoints in the gutter of a cell, in the place of others; returns the lines that have one."""
        path = self.ask("dumpCell", code=code)["sourcePath"]
        found = self.ask(
            "setBreakpoints",
            breakpoints=[{"line": line} for line in lines],
            source={"path": path},
            sourceModified=False,
        )
        self.ask("configurationDone")
        self._cells.add(code)
        return [one["line"] for one in found["breakpoints"] if one["verified"]]

    def clear(self) -> None:
        """Take every breakpoint away, and let run on what is held."""
        for code in [*self._cells]:
            self.break_at(code)
        self._cells.clear()
        self.ask("setExceptionBreakpoints", filters=[])
        if self.ask("debugInfo")["stoppedThreads"]:
            self.go_on()

    def stack(self) -> list[dict[str, Any]]:
        """Return the frames of the thread that stopped last, the innermost first."""
        frames: list[dict[str, Any]] = self.ask("stackTrace", threadId=self.thread)["stackFrames"]
        return frames

    def frame(self, name: str | None = None) -> dict[str, Any]:
        """Return the innermost frame, or that of a function."""
        return next(one for one in self.stack() if name in (None, one["name"]))

    def variables(self, frame: dict[str, Any]) -> dict[str, str]:
        """Return the local variables of a frame, as text."""
        scopes = self.ask("scopes", frameId=frame["id"])["scopes"]
        found = self.ask("variables", variablesReference=scopes[0]["variablesReference"])
        return {one["name"]: one["value"] for one in found["variables"]}

    def step(self, command: str) -> None:
        """Step, and wait until that is done."""
        self.ask(command, threadId=self.thread)
        self.until("stopped")

    def go_on(self) -> None:
        """Let the thread that stopped run on."""
        self.ask("continue", threadId=self.thread)

    def until(self, event: str, timeout: float = LIMIT) -> dict[str, Any]:
        """Return the body of the next event of this name."""
        deadline = time.monotonic() + timeout
        while True:
            for one in self.events:
                if one["event"] == event:
                    self.events.remove(one)
                    body: dict[str, Any] = one.get("body", {})
                    self.thread = body.get("threadId", self.thread)
                    return body
            try:
                message = self._session._read(deadline)
            except queue.Empty:
                raise TimeoutError(f"no {event} within {timeout} s; there were {self.events}") from None
            if message["msg_type"] == "debug_event":
                self.events.append(message["content"])
            else:
                self._session._held.append(message)
