"""A real kernel, driven by raw messages: what it sends, in which cell, with which status."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import KernelManager

from .nursery import nursery

LIMIT = 200.0
"""Seconds after which something hangs; what is waited for comes in a fraction of one, and on a busy machine in some."""


def held_within(kernel: KernelSession, moments: str) -> float:
    """Return for how much of a time something is said to have held the loop; a slow machine does so before and after.

    Args:
        kernel: whose loop.
        moments: an expression of moments of `time.monotonic()`; the time is from the first to the last.
    """
    return float(
        kernel.run(
            f"since, *_, until = {moments}\nprint(max([0.0, *(min(one.began + one.seconds, until) - max(one.began, since) "
            "for one in dn._active().watch.blocks)]))"
        ).text
    )


WAIT = "!__import__('builtins').stop = [(clock := __import__('time')).monotonic(), clock.sleep(2.5), clock.monotonic()]"
"""Typed at a debugger's prompt it stays there for a while; `stop` has when that was."""


@dataclass
class Reply:
    """What one cell answered."""

    status: str
    error: str = ""
    streams: dict[str, str] = field(default_factory=dict)
    displays: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    traceback: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    count: int = 0
    """The number that the cell got."""
    next_input: str | None = None
    """The cell that is offered below."""
    prompts: list[str] = field(default_factory=list)
    """What the cell asked for, in order."""

    @property
    def text(self) -> str:
        """Everything that a terminal would show, in one string."""
        shown = [d.get("text/plain", "") for d in self.displays]
        if self.result is not None:
            shown.append(self.result.get("text/plain", ""))
        return "\n".join([*self.streams.values(), *shown, *self.traceback])


Answer = str | Callable[[Reply], str | None]
"""What a prompt is answered with; a function is called with what the cell has shown so far, and may act instead."""


def is_idle(message: dict[str, Any], asked: str) -> bool:
    """Return whether a message of iopub says that the request `asked` is dealt with."""
    content = message["content"]
    return message["parent_header"].get("msg_id") == asked and content.get("execution_state") == "idle"


STARTS = 3
"""How often a kernel is started: the ports are chosen before, and another process may take one meanwhile."""


class ForkedKernel(KernelManager):
    """A kernel of the environment that tests run in, which takes a tenth of a second to start, not a whole one."""

    def start_kernel(self) -> None:
        """Start it, and read its process id."""
        self.write_connection_file()
        self.pid = nursery().start_kernel(self.connection_file)

    def is_gone(self) -> bool:
        """Return whether the process has ended."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def interrupt_kernel(self) -> None:
        """Send SIGINT, as the stop button does."""
        self.signal_kernel(signal.SIGINT)

    def signal_kernel(self, number: int) -> None:
        """Send a signal to the kernel and its children."""
        os.killpg(self.pid, number)

    def shutdown_kernel(self, now: bool = False) -> None:
        """End it at once, with its children."""
        with suppress(ProcessLookupError):
            self.signal_kernel(signal.SIGKILL)
        self.cleanup_connection_file()


class KernelSession:
    """Starts a kernel; `run` executes a cell and waits until the kernel is idle again."""

    def __init__(self, python: str | None = None) -> None:
        for _ in range(STARTS):
            self.manager = KernelManager(kernel_name="python3") if python is not None else ForkedKernel()
            if python is not None:
                self.manager.kernel_spec.argv[0] = python
            self.manager.start_kernel()
            self.client = self.manager.client()
            self.client.start_channels()
            if self._is_ready():
                break
            self.client.stop_channels()  # another process took a port that was chosen for it
            self.manager.shutdown_kernel(now=True)
        else:
            raise RuntimeError(f"a kernel ended {STARTS} times while it started")
        self._held: list[dict[str, Any]] = []  # read while something else was waited for
        self.comms: list[dict[str, Any]] = []
        """What comms sent to the front end, whichever cell it came from."""

    def _is_ready(self, timeout: float = LIMIT) -> bool:
        """Return True when the kernel answers, and what it says on iopub is heard; False when it has ended.

        `wait_for_ready` of jupyter_client ends only after 0.2 s of silence on iopub, in every test.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            asked = self.client.kernel_info()
            with suppress(queue.Empty):
                while self.client.get_shell_msg(timeout=5)["parent_header"].get("msg_id") != asked:
                    pass
                while not is_idle(self.client.get_iopub_msg(timeout=0.2), asked):
                    pass
                return True
            if isinstance(self.manager, ForkedKernel) and self.manager.is_gone():
                return False
        raise TimeoutError(f"the kernel did not answer within {timeout} s")

    def run(
        self,
        code: str,
        cell_id: str | None = None,
        timeout: float = LIMIT,
        answers: Sequence[Answer] | None = None,
    ) -> Reply:
        """Execute a cell as a front end would, with its cell id; with `answers`, one that gives standard input."""
        parent = self.begin(code, cell_id, allow_stdin=answers is not None)
        return self.collect(parent, timeout, answers)

    def begin(
        self, code: str, cell_id: str | None = None, subshell: str | None = None, *, allow_stdin: bool = False
    ) -> str:
        """Begin to execute a cell, and return what `collect` wants to know of it."""
        message = self.client.session.msg(
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": allow_stdin,
                "stop_on_error": False,
            },
            metadata={"cellId": cell_id} if cell_id else {},
        )
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def complete(self, code: str) -> list[str]:
        """Return what Tab offers at the end of `code`."""
        parent = self.client.complete(code, len(code))
        while True:
            answer = self.client.get_shell_msg(timeout=LIMIT)
            if answer["parent_header"].get("msg_id") == parent:
                matches: list[str] = answer["content"]["matches"]
                return matches

    def interrupt(self) -> None:
        """Send SIGINT, as the stop button does."""
        self.manager.interrupt_kernel()

    def subshell(self) -> str | None:
        """Make a subshell, as JupyterLab does for comms; None where the kernel has none."""
        request = self.client.session.msg("create_subshell_request", {})
        self.client.control_channel.send(request)
        while True:
            answer = self.client.get_control_msg(timeout=LIMIT)
            if answer["parent_header"].get("msg_id") == request["header"]["msg_id"]:
                return answer["content"].get("subshell_id")

    def send_to_comm(self, comm_id: str, content: dict[str, Any], subshell: str | None = None) -> None:
        """Send a widget's custom message, as a click does."""
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)

    def until_comm(self, wanted: str, timeout: float = LIMIT, **fields: Any) -> dict[str, Any]:
        """Return the next custom message of the type `wanted`, kept ones among them."""
        deadline = time.monotonic() + timeout
        while True:
            for message in self.comms:
                if message.get("type") == wanted and fields.items() <= message.items():
                    self.comms.remove(message)
                    return message
            try:
                self._held.append(self._read(deadline))
            except queue.Empty:
                raise TimeoutError(f"no {wanted} came within {timeout} s; there are: {self.comms}") from None

    def until_stream(self, text: str, timeout: float = LIMIT) -> None:
        """Return when some cell has printed `text`."""
        self._until(lambda kind, content: kind == "stream" and text in content["text"], timeout)

    def until_display(self, text: str, timeout: float = LIMIT) -> None:
        """Return when some cell shows `text`."""
        self._until(
            lambda kind, content: "display" in kind and text in content["data"].get("text/plain", ""), timeout
        )

    def _until(self, is_it: Callable[[str, dict[str, Any]], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            message = self._read(deadline)
            self._held.append(message)
            if is_it(message["msg_type"], message["content"]):
                return

    def _read(self, deadline: float) -> dict[str, Any]:
        """Read the next message of the iopub channel; what comms send is kept aside."""
        message: dict[str, Any] = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
        if message["msg_type"] == "comm_msg":
            data = message["content"]["data"]
            if data.get("method") == "custom":
                self.comms.append(data["content"])
        return message

    def until_prompt(self, timeout: float = LIMIT) -> str:
        """Return the next prompt of a cell; it waits for an `answer`."""
        message = self.client.get_stdin_msg(timeout=timeout)
        return str(message["content"]["prompt"])

    def answer(self, text: str) -> None:
        """Answer the prompt of a cell."""
        self.client.input(text)

    def _read_or_answer(self, deadline: float, answers: list[Answer], reply: Reply) -> dict[str, Any]:
        """Read the next message of the iopub channel, and answer what is asked meanwhile."""
        while True:
            with suppress(queue.Empty):
                return self._read(min(deadline, time.monotonic() + 0.1))
            if time.monotonic() > deadline:
                raise queue.Empty
            while self.client.stdin_channel.msg_ready():
                prompt = self.until_prompt()
                reply.prompts.append(prompt)
                if not answers:
                    raise AssertionError(f"{prompt!r} was asked after all answers; so far: {reply}")
                given = answers.pop(0)
                if (text := given(reply) if callable(given) else given) is not None:
                    self.answer(text)

    def collect(self, parent: str, timeout: float = LIMIT, answers: Sequence[Answer] | None = None) -> Reply:
        """Return what a cell that was begun answers."""
        reply, left = Reply("unknown"), [*(answers or ())]
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self._held.pop(0) if self._held else self._read_or_answer(deadline, left, reply)
            except queue.Empty:
                raise TimeoutError(f"the cell did not end within {timeout} s; so far: {reply}") from None
            if message["parent_header"].get("msg_id") != parent:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    reply.streams[content["name"]] = reply.streams.get(content["name"], "") + content["text"]
                case "display_data" | "update_display_data":
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
                reply.count = answer["content"].get("execution_count", 0)
                payload = answer["content"].get("payload", [])
                reply.pages = [p["data"]["text/plain"] for p in payload if p["source"] == "page"]
                offered = [p["text"] for p in payload if p["source"] == "set_next_input"]
                reply.next_input = offered[-1] if offered else None
                return reply

    def close(self) -> None:
        """End the kernel by its own id."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
