"""`FirstCells`: lets a cell that names `dn` begin when the runtime has started; `loading` installs it.

`%load_ext` only begins the start. Magics wait for it, and so does what is awaited, but `dn.panel()` and
`dn.runtime()` cannot, and *Run All* sends their cells at once.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.patching import replace
from dnworker_jupyter.kernel.startup import RuntimeStartup

log = logging.getLogger("dnworker.notebook")

NAMES_US = re.compile(r"\bdn\b|\bdnworker")

LONGEST_WAIT = 30.0
"""Seconds after which a cell begins all the same, and says so: a start may wait for what does not answer."""


class FirstCells:
    """Has the first cells of a kernel wait for the runtime of one notebook.

    Args:
        startup: starts the runtime.
        loop: the runtime's; cells that run elsewhere, in subshells, do not wait.
    """

    def __init__(self, startup: RuntimeStartup, loop: KernelLoop) -> None:
        self._startup = startup
        self._loop = loop

    def install(self, shell: Any) -> Callable[[], None]:
        """Let cells of a kernel begin later; returns what undoes it."""
        kernel = getattr(shell, "kernel", None)
        if not hasattr(kernel, "do_execute"):
            return lambda: None
        return replace(kernel, "do_execute", self._beginning_later)

    def _beginning_later(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        async def do_execute(*args: Any, **fields: Any) -> Any:
            code = args[0] if args else fields.get("code")
            if not self._startup.is_started and isinstance(code, str) and NAMES_US.search(code) is not None:
                await self._wait()
            return await execute(*args, **fields)

        return do_execute

    async def _wait(self) -> None:
        """Wait until the runtime has started, the start has failed, or SIGINT comes."""
        if asyncio.get_running_loop() is not self._loop.loop:
            return
        start = asyncio.ensure_future(self._startup.ready())
        with _on_sigint(start.cancel):
            await asyncio.wait({start}, timeout=LONGEST_WAIT)
        if not start.done():
            start.cancel()
            log.warning("the runtime has not started within %g s; the cell begins without it", LONGEST_WAIT)
        elif not start.cancelled() and (exc := start.exception()) is not None:
            log.warning("the runtime did not start: %s", exc)


@contextmanager
def _on_sigint(callback: Callable[[], object]) -> Iterator[None]:
    """Call something on the loop, in place of an interrupt that would end the kernel's loop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(callback))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
