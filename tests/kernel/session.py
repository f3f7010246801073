"""A real kernel, driven by raw messages: what it sends, in which cell, with which status."""

from __future__ import annotations

import queue
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import KernelManager


@dataclass
class Reply:
    """What one cell answered."""

    status: str
    error: str = ""
    streams: dict[str, str] = field(default_factory=dict)
    displays: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    traceback: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything that a terminal would show, in one string."""
        shown = [d.get("text/plain", "") for d in self.displays]
        if self.result is not None:
            shown.append(self.result.get("text/plain", ""))
        return "\n".join([*self.streams.values(), *shown, *self.traceback])


class KernelSession:
    """Starts a kernel; `run` executes a cell and waits until the kernel is idle again."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.kernel_spec.argv[0] = sys.executable
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, cell_id: str | None = None, timeout: float = 30) -> Reply:
        """Execute a cell as a front end would, with its cell id."""
        message = self.client.session.msg(
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": False,
            },
            metadata={"cellId": cell_id} if cell_id else {},
        )
        self.client.shell_channel.send(message)
        return self._collect(message["header"]["msg_id"], timeout)

    def _collect(self, parent: str, timeout: float) -> Reply:
        reply = Reply("unknown")
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"the cell did not end within {timeout} s; so far: {reply}") from None
            if message["parent_header"].get("msg_id") != parent:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    reply.streams[content["name"]] = reply.streams.get(content["name"], "") + content["text"]
                case "display_data":
                    reply.displays.append(content["data"])
                case "execute_result":
                    reply.result = content["data"]
                case "error":
                    reply.error = f"{content['ename']}: {content['evalue']}"
                    reply.traceback = content["traceback"]
                case "status" if content["execution_state"] == "idle":
                    break
        while True:
            answer = self.client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
            if answer["parent_header"].get("msg_id") == parent:
                reply.status = answer["content"]["status"]
                return reply

    def close(self) -> None:
        """End the kernel by its own id."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
