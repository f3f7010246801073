"""`NotebookLocation`: where the notebook's file is, also after a rename; used by `journals` and magics."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnworker.core.listeners import Listeners
from dnworker_jupyter.kernel.jupyter_server import ask_servers

log = logging.getLogger("dnworker.notebook")

FRESH = 2.0
"""Seconds in which cells ask once."""

RARELY = 30.0
"""Seconds until servers are asked again of which none knew the kernel."""

WAIT_LIMIT = 1.0
"""Seconds that somebody waits for an answer before the last one has to do."""


def notebook_path(shell: Any) -> Path | None:
    """Return the notebook's file as the front end has named it: VS Code, or Jupyter's server at the start."""
    named = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return Path(named) if isinstance(named, str) and named.endswith(".ipynb") else None


def connection_file() -> str | None:
    """Return the connection file of this kernel; None outside of one."""
    try:
        from ipykernel.connect import get_connection_file

        return str(get_connection_file())
    except Exception:  # no kernel, or one that is no IPKernelApp
        return None


class NotebookLocation:
    """Where the notebook's file is; the server is asked when a cell runs, on a thread of its own.

    No cell waits for it, and none fails: an answer that does not come leaves the last one.

    Args:
        shell: whose notebook.
        ask: returns the file as the server names it now; None where no server knows. Called on a thread.
    """

    def __init__(self, shell: Any, ask: Callable[[], Path | None] | None = None) -> None:
        self.looked: Listeners[[Path]] = Listeners()
        """Called on a thread with the notebook's file, each time after it was asked for."""
        self._shell = shell
        self._ask = ask or (lambda: ask_servers(connection_file()))
        self._asks = ask is not None or getattr(shell, "kernel", None) is not None
        self._named: Path | None = None
        self._again_at = 0.0
        self._answer: concurrent.futures.Future[None] | None = None

    @property
    def path(self) -> Path | None:
        """The notebook's file, as far as is known; None where no front end names one."""
        if self._named is not None and "__vsc_ipynb_file__" not in self._shell.user_ns:
            return self._named
        return notebook_path(self._shell)

    def look(self, *_: object) -> None:
        """Ask again soon, unless that was done just now; returns at once. `pre_run_cell` calls it."""
        if self._asks and self._answer is None and time.monotonic() >= self._again_at:
            self._begin()

    async def fresh(self, limit: float = WAIT_LIMIT) -> Path | None:
        """Return the notebook's file, asked for now; without an answer in `limit` seconds, as it is known."""
        if self._asks and self._answer is None:
            self._begin()
        if (answer := self._answer) is not None:
            await asyncio.wait({asyncio.wrap_future(answer)}, timeout=limit)
        return self.path

    def _begin(self) -> None:
        answer: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._answer = answer
        threading.Thread(target=self._look, args=(answer,), name="dnworker notebook", daemon=True).start()

    def _look(self, answer: concurrent.futures.Future[None]) -> None:
        found: Path | None = None
        try:
            found = self._ask()
            if found is not None:
                self._named = found
            if (path := self.path) is not None:
                self.looked.notify(path)
        except Exception:  # somebody else's server, or a disk; the notebook goes on without
            log.debug("the notebook's file was not found", exc_info=True)
        finally:
            self._again_at = time.monotonic() + (RARELY if found is None else FRESH)
            self._answer = None
            answer.set_result(None)
