"""`CellTurns`: runs cells of agents between those of the front end, as the kernel runs a typed one.

A cell of an agent begins when no other runs, and what is typed meanwhile begins after it. The kernel runs it
for a request of no front end: what it prints and shows is taken here, and none of it appears in a cell.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import os
import signal
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any

from dnworker.core.errors import UsageError
from dnworker_jupyter.kernel.cells import CellBook, agent
from dnworker_jupyter.kernel.patching import replace
from dnworker_jupyter.syntax.cell import Cell

OUTPUT_KEPT = 64_000
"""Characters of the output of a cell that are kept."""

INTERRUPT_AFTER = 2.0
"""Seconds after which a cell that blocks the loop, and so was not cancelled in time, is interrupted."""

_TEXTS = ("text/markdown", "text/plain")


class AgentRun:
    """How a cell of an agent went."""

    def __init__(self) -> None:
        self.ok = False
        self.output = ""
        self.error: BaseException | None = None
        self.line: int | None = None
        """The line of the cell at which it failed, from 1."""
        self.cell: Cell | None = None
        self.was_interrupted = False
        self.is_late = False
        """Whether it was ended because its time was up."""


class CellTurns:
    """Who runs cells of one kernel now, and the way for agents to run one.

    Args:
        shell: the kernel's.
        cells: the cells that ran.
    """

    def __init__(self, shell: Any, cells: CellBook) -> None:
        self._shell = shell
        self._cells = cells
        self._kernel: Any = getattr(shell, "kernel", None)
        self._thread = threading.get_ident()
        self._typed = 0
        self._agents = asyncio.Lock()
        self._changed = asyncio.Event()
        self._is_running = False
        self._task: asyncio.Task[None] | None = None
        """Runs the cell of an agent."""
        self._latest: tuple[Any, Any] | None = None
        """The newest request of a front end: to it belongs what nobody else's output is."""

    def install(self) -> Callable[[], None]:
        """Follow which cells run; returns what ends it."""
        if not hasattr(self._kernel, "do_execute"):
            return lambda: None
        self._note_request()
        return replace(self._kernel, "do_execute", self._in_turn)

    def _note_request(self) -> None:
        message = self._kernel.get_parent("shell")
        if isinstance(message, dict) and message.get("header"):
            self._latest = self._kernel._parent_ident["shell"], message

    def _in_turn(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        async def do_execute(*args: Any, **fields: Any) -> Any:
            if (
                agent.get() is not None or threading.get_ident() != self._thread
            ):  # a subshell has turns of its own
                return await execute(*args, **fields)
            self._note_request()
            self._typed += 1
            try:
                if self._is_running:
                    with self._interrupts_go_to_agent():
                        await self._until(lambda: not self._is_running)
                return await execute(*args, **fields)
            finally:
                self._typed -= 1
                self._changed.set()

        return do_execute

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    @contextmanager
    def _interrupts_go_to_agent(self) -> Iterator[None]:
        """Let Ctrl-C end the agent's cell while a typed one waits: the kernel would raise it anywhere."""
        loop = asyncio.get_running_loop()

        def interrupt(number: int, frame: FrameType | None) -> None:
            if (task := self._task) is not None:
                loop.call_soon_threadsafe(task.cancel)

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @property
    def running(self) -> str | None:
        """The cell of a front end that runs now, such as `cell [12]`."""
        running = self._cells.anywhere
        if running is not None:
            return running.label
        return "a cell" if self._typed else None

    @asynccontextmanager
    async def turn(self, timeout: float) -> AsyncIterator[None]:
        """Run the body while no cell runs; what is typed meanwhile waits.

        Raises:
            UsageError: this is a terminal, whose cells run where nobody else can.
            TooLate: another cell runs for all of `timeout`.
        """
        if not hasattr(self._kernel, "do_execute"):
            raise UsageError(
                "only a Jupyter kernel runs cells of agents; this is a terminal, so type the cell here",
                code="DN983",
            )
        try:
            async with asyncio.timeout(timeout):
                await self._agents.acquire()
                try:
                    await self._until(lambda: not self._typed and self._cells.now is None)
                except BaseException:
                    self._agents.release()
                    raise
        except TimeoutError:
            from dnworker.engine.door import TooLate  # only where there are agents

            who = self.running or "the cell of another agent"
            raise TooLate(
                f"the kernel runs {who} and did not end it within {timeout:g} s; nothing was done, "
                "try again when it has ended"
            ) from None
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            self._agents.release()
            self._changed.set()

    async def run(self, source: str, *, by: str, timeout: float) -> AgentRun:
        """Run a cell within a `turn`, as the kernel runs one that is typed, and return how it went.

        Raises:
            TooLate: it does not end although it was interrupted.
        """
        ran = AgentRun()
        context = contextvars.copy_context()
        context.run(agent.set, by)
        task = asyncio.get_running_loop().create_task(
            self._execute(source, ran), name="dnworker agent's cell", context=context
        )
        self._task = task
        guard = _Interrupting(timeout + INTERRUPT_AFTER, self._thread, self._shell.user_ns)
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout)
            if not done:
                ran.is_late = True
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=INTERRUPT_AFTER * 5)
        except asyncio.CancelledError:  # who waited has gone: the cell does not run on without them
            task.cancel()
            await asyncio.wait({task}, timeout=INTERRUPT_AFTER * 5)
            raise
        finally:
            guard.end()
            self._task = None
            ran.is_late |= guard.has_interrupted
            self._give_back()
        if not done:
            from dnworker.engine.door import TooLate  # only where there are agents

            raise TooLate(f"the cell did not end within {timeout:g} s, nor when it was interrupted")
        with suppress(asyncio.CancelledError):
            task.result()
        return ran

    def _answer_to(self, request: dict[str, Any]) -> None:
        """Have all that is sent here belong to a request, and, where the kernel can, nothing of others."""
        ident, kernel = [b"dnworker-agent"], self._kernel
        variables = {"_shell_parent_ident": ident, "_shell_parent": request}
        only_here = getattr(self._shell, "set_thread_parent", None)
        if only_here is None or not all(isinstance(getattr(kernel, n, None), ContextVar) for n in variables):
            kernel.set_parent(ident, request)
            return
        for name, value in variables.items():
            getattr(kernel, name).set(value)
        only_here(request)

    def _give_back(self) -> None:
        """Let output that belongs to no cell go on to the cell where it went before."""
        if self._latest is not None:
            contextvars.copy_context().run(self._kernel.set_parent, *self._latest)

    async def _execute(self, source: str, ran: AgentRun) -> None:
        kernel, shell = self._kernel, self._shell
        content = {"code": source, "silent": False, "store_history": True, "allow_stdin": False}
        request = kernel.session.msg("execute_request", content)
        self._answer_to(request)
        taken = _Taken(request["header"]["msg_id"])
        undo = replace(kernel.session, "send", taken.sending)
        cell_id = str(uuid.uuid4())

        def ended(result: Any) -> None:
            if result is not None and agent.get() is not None:
                self._note(result, ran)

        shell.events.register("post_run_cell", ended)
        try:
            await kernel.do_execute(source, False, True, {}, False, cell_id=cell_id)
        finally:
            shell.events.unregister("post_run_cell", ended)
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            undo()
            ran.output = taken.text()

    def _note(self, result: Any, ran: AgentRun) -> None:
        before, within = result.error_before_exec, result.error_in_exec
        error = before if before is not None else within
        ran.ok, ran.error = bool(result.success), error
        ran.was_interrupted = isinstance(error, KeyboardInterrupt | asyncio.CancelledError)
        ran.cell = self._cells.newest
        if isinstance(error, SyntaxError):
            ran.line = error.lineno
        elif error is not None:
            ran.line = self._cells.line_of(error)


class _Taken:
    """What a cell of an agent sends to front ends, which is taken instead.

    The session of a kernel is also used by the thread that sends what streams have.
    """

    def __init__(self, request: str) -> None:
        self._request = request
        self._parts: list[str] = []
        self._size = 0
        self._left_out = 0

    def sending(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def taking(
            stream: Any, msg_or_type: Any, content: Any = None, parent: Any = None, **more: Any
        ) -> Any:
            if isinstance(msg_or_type, dict):
                kind, shown = msg_or_type.get("msg_type"), msg_or_type.get("content")
                about = msg_or_type.get("parent_header") or {}
            else:
                kind, shown, about = msg_or_type, content, _header(parent)
            if about.get("msg_id") != self._request or kind in _NOT_OUTPUT:
                return send(stream, msg_or_type, content, parent, **more)
            self._take(kind, shown or {})
            return msg_or_type if isinstance(msg_or_type, dict) else {}

        return taking

    def _take(self, kind: Any, content: dict[str, Any]) -> None:
        if kind == "stream":
            self._add(str(content.get("text", "")))
        elif kind in ("display_data", "execute_result"):
            data = content.get("data") or {}
            text = next((data[one] for one in _TEXTS if one in data), None)
            self._add(f"{text if text is not None else ', '.join(data)}\n")

    def _add(self, text: str) -> None:
        room = OUTPUT_KEPT - self._size
        self._left_out += max(0, len(text) - room)
        text = text[: max(0, room)]
        self._size += len(text)
        self._parts.append(text)

    def text(self) -> str:
        cut = f"\n[cut: {self._left_out:,} more characters]" if self._left_out else ""
        return "".join(self._parts) + cut


_NOT_OUTPUT = ("status", "comm_open", "comm_msg", "comm_close", "update_display_data")
"""What front ends get in any case: the state of the kernel, messages of widgets, news of what they show."""


def _header(parent: Any) -> dict[str, Any]:
    if not isinstance(parent, dict):
        return {}
    header = parent.get("header", parent)
    return header if isinstance(header, dict) else {}


class _Interrupting:
    """Interrupts the kernel where the code of a cell still holds the loop when its time is up."""

    def __init__(self, seconds: float, thread: int, names: dict[str, Any]) -> None:
        self._thread = thread
        self._names = names
        self._lock = threading.Lock()
        self._is_over = False
        self.has_interrupted = False
        self._timer = threading.Timer(seconds, self._interrupt)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Interrupt nothing any more."""
        with self._lock:
            self._is_over = True
        self._timer.cancel()

    def _interrupt(self) -> None:
        with self._lock:
            if self._is_over or not self._holds():
                return
            # At SIGINT the kernel cancels a cell that awaits, which code that blocks does not notice.
            self.has_interrupted = True
            raised = ctypes.py_object(KeyboardInterrupt)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), raised)
            os.kill(os.getpid(), signal.SIGINT)  # and this wakes it where it sleeps

    def _holds(self) -> bool:
        """Return whether code of a cell is on the stack of the kernel's thread."""
        frame = sys._current_frames().get(self._thread)
        while frame is not None:
            if frame.f_globals is self._names and frame.f_code.co_name.startswith(("<module>", "<cell line")):
                return True
            frame = frame.f_back
        return False
