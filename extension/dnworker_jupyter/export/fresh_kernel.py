"""`FreshKernel`: a kernel that is started for one export and always ended; used by execute.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnworker.core.errors import UsageError
from dnworker_jupyter.kernel.journals import VARIABLE, journal_of

START_LIMIT = 120.0
"""Seconds that a kernel may take to start."""

END_LIMIT = 15.0
"""Seconds that a kernel may take to end what it runs, before it is killed."""

INTERRUPT_LIMIT = 5.0
"""Seconds in which a cell that is interrupted says where it was."""

_ASKED_EVERY = 0.2
"""Seconds between questions whether the kernel still lives."""

_LONGEST_PATH = 90
"""Characters of the path of a socket, of which systems allow about a hundred."""

_LONGEST_OUTPUT = 2_000


class KernelDied(UsageError):
    """The kernel ended while something was expected of it."""

    code = "DN512"


class TooLong(UsageError):
    """A cell did not end in time; `reply` is what an interrupt made it say, None where it said nothing."""

    code = "DN513"

    def __init__(self, reply: KernelReply | None) -> None:
        self.reply = reply
        super().__init__("it did not end in time")


@dataclass(frozen=True)
class KernelReply:
    """What a kernel says of a cell that it ran."""

    ok: bool
    number: int
    name: str
    """The class of the error."""
    text: str
    """The error's own text."""
    traceback: str
    ends_kernel: bool
    """Whether the kernel ends after it, as by `exit()`."""


class FreshKernel:
    """A running kernel; `start` gives one, and ends it."""

    def __init__(self, manager: Any, home: Path) -> None:
        self._manager = manager
        self._client: Any = None
        self._home = home
        self._is_stuck = False

    @classmethod
    @asynccontextmanager
    async def start(cls, notebook: Path, name: str | None) -> AsyncIterator[FreshKernel]:
        """Start the kernel of a notebook in the notebook's directory, and end it, whatever happens.

        What it keeps is in a directory that is removed with it: a journal, which begins as a copy of the
        notebook's own, and what it writes to its terminal.

        Args:
            notebook: the file, absolute.
            name: the kernel's name; None for this interpreter's.

        Raises:
            UsageError: there is no such kernel, or it does not start.
        """
        manager = _manager(name)
        home = Path(tempfile.mkdtemp(prefix="dnworker-kernel-"))
        kernel = cls(manager, home)
        try:
            await kernel._launch(notebook)
            yield kernel
        finally:
            try:
                await kernel._end()
            finally:
                shutil.rmtree(home, ignore_errors=True)

    async def _launch(self, notebook: Path) -> None:
        _keep_connection_in(self._manager, self._home)
        _copy_journal(notebook, self._home / "journal.db")
        with (self._home / "output.txt").open("wb") as output:
            await self._manager.start_kernel(
                cwd=str(notebook.parent),
                env=_environment(notebook, self._home),
                extra_arguments=["--HistoryManager.hist_file=:memory:"],
                stdout=output,
                stderr=output,
            )
        self._client = self._manager.client()
        self._client.start_channels(iopub=False, stdin=False, hb=False)
        await self._until_ready()

    @property
    def python(self) -> str:
        """The interpreter that it runs."""
        named = str(self._manager.kernel_spec.argv[0])
        return sys.executable if re.fullmatch(r"python[\d.]*", named) else named  # as jupyter_client does

    def file(self, name: str) -> Path:
        """Return the path of a file that is removed with the kernel."""
        return self._home / name

    async def run(
        self,
        code: str,
        limit: float,
        *,
        cell_id: str | None = None,
        is_cell: bool = True,
        on_display: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> KernelReply:
        """Run code, and return what the kernel says of it. What it displays is not read without `on_display`.

        Args:
            code: as a cell has it.
            limit: seconds.
            cell_id: the front end's.
            is_cell: whether it counts as a cell of the notebook.
            on_display: called with each MIME bundle that it displays.

        Raises:
            KernelDied: the kernel ended.
            TooLong: the code did not end within the limit, and was interrupted.
        """
        if on_display is not None:
            self._client.iopub_channel.start()
        asked = self._send(code, cell_id, is_cell=is_cell)
        reading = asyncio.ensure_future(self._read_displays(on_display)) if on_display else None
        try:
            reply = await self._reply(asked, limit)
            if reply is None:
                raise TooLong(await self._interrupt(asked))
            return reply
        except asyncio.CancelledError:
            self._is_stuck = True
            raise
        finally:
            if reading is not None:
                reading.cancel()

    def _send(self, code: str, cell_id: str | None, *, is_cell: bool) -> str:
        content = {
            "code": code, "silent": False, "store_history": is_cell, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": False,  # each waits for the reply of the one before
        }  # fmt: skip
        metadata = {"cellId": cell_id} if cell_id else {}
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        self._client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    async def _interrupt(self, asked: str) -> KernelReply | None:
        """Interrupt a cell, and return what it says then; None where it goes on."""
        self._is_stuck = True
        await self._manager.interrupt_kernel()
        late = await self._reply(asked, INTERRUPT_LIMIT)
        self._is_stuck = late is None
        return late

    async def _reply(self, asked: str, limit: float) -> KernelReply | None:
        """Return the reply to a request; None if there is none within the limit."""
        deadline = time.monotonic() + limit
        while (left := deadline - time.monotonic()) > 0:
            try:
                message = await self._client.get_shell_msg(timeout=min(_ASKED_EVERY, left))
            except queue.Empty:
                if not await self._manager.is_alive():
                    raise KernelDied(f"the kernel ended{self._last_words()}") from None
                continue
            if message["parent_header"].get("msg_id") == asked:
                content = message["content"]
                return KernelReply(
                    content["status"] == "ok",
                    int(content.get("execution_count") or 0),
                    str(content.get("ename", content["status"])),
                    str(content.get("evalue", "")),
                    "\n".join(content.get("traceback") or ()),
                    any(p.get("source") == "ask_exit" for p in content.get("payload") or ()),
                )
        return None

    async def _read_displays(self, on_display: Callable[[Mapping[str, Any]], None]) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                message = await self._client.get_iopub_msg(timeout=_ASKED_EVERY)
                if message["msg_type"] == "display_data":
                    on_display(message["content"]["data"])

    async def _until_ready(self) -> None:
        asked = self._client.kernel_info()
        try:
            if await self._reply(asked, START_LIMIT) is None:
                raise UsageError(
                    f"the kernel {self.python} did not start within {START_LIMIT:g} s", code="DN512"
                )
        except KernelDied as exc:
            raise UsageError(
                f"the kernel does not start: {self.python}{self._last_words() or ' says nothing'}; it needs "
                "ipykernel: pip install 'dnworker[jupyter]'",
                code="DN512",
            ) from exc

    def _last_words(self) -> str:
        """Return the end of what it wrote to its terminal, which may say why it ended."""
        with contextlib.suppress(OSError):
            text = (self._home / "output.txt").read_text(encoding="utf-8", errors="replace").strip()
            return f": {text[-_LONGEST_OUTPUT:]}" if text else ""
        return ""

    async def _end(self) -> None:
        """Ask the kernel to end, which ends its workers; kill what is left of it and of its children."""
        manager = self._manager
        group = getattr(manager.provisioner, "pgid", None)
        try:
            if manager.has_kernel:
                manager.shutdown_wait_time = INTERRUPT_LIMIT if self._is_stuck else END_LIMIT
                with contextlib.suppress(TimeoutError):  # it is killed below
                    await asyncio.wait_for(manager.shutdown_kernel(), 2 * END_LIMIT)
        finally:
            if group and hasattr(os, "killpg") and group != os.getpgrp():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            if self._client is not None:
                self._client.stop_channels()
            with contextlib.suppress(Exception):
                manager.cleanup_connection_file()


def _manager(name: str | None) -> Any:
    """Return the manager of a kernel.

    Raises:
        UsageError: there is no such kernel.
    """
    try:
        from jupyter_client.kernelspec import NoSuchKernel
        from jupyter_client.manager import AsyncKernelManager
    except ImportError as exc:
        raise UsageError(
            f"--execute needs {exc.name}; install it with: pip install 'dnworker[jupyter]'", code="DN902"
        ) from exc
    name = name or "python3"
    manager = AsyncKernelManager(kernel_name=name)
    try:
        spec = manager.kernel_spec
    except NoSuchKernel:
        needed = "ipykernel; install it with: pip install 'dnworker[jupyter]'"
        raise UsageError(
            f"there is no kernel {name!r} here, and --execute needs {needed}", code="DN512"
        ) from None
    if spec.language.lower() != "python":
        raise UsageError(
            f"the notebook's kernel {name!r} is of {spec.language}, and workers are of Python", code="DN512"
        )
    return manager


def has_kernel(name: str) -> bool:
    """Return whether a kernel of this name is installed; False too where nothing can start one."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError:
        return False
    return name in KernelSpecManager().find_kernel_specs()


def _keep_connection_in(manager: Any, home: Path) -> None:
    """Connect by files of this directory: a port that is chosen before may be taken meanwhile."""
    manager.connection_file = str(home / "kernel.json")
    if sys.platform != "win32" and len(str(home)) < _LONGEST_PATH:
        manager.transport, manager.ip = "ipc", str(home / "socket")


def _environment(notebook: Path, home: Path) -> dict[str, str]:
    return {**os.environ, VARIABLE: str(home / "journal.db"), "JPY_SESSION_NAME": str(notebook)}


def _copy_journal(notebook: Path, copy: Path) -> None:
    """Give the kernel a journal of its own that knows what the notebook's knows, as after a restart."""
    journal = journal_of(notebook)
    if journal is None or not journal.is_file():
        return
    with contextlib.suppress(sqlite3.Error):
        source, target = sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True), sqlite3.connect(copy)
        with contextlib.closing(source), contextlib.closing(target):
            source.backup(target)
