"""`ListedRuntime`: this notebook in the list of runtimes, by which commands such as `dnworker ps` find it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from dnworker.cli.running import forget, register_notebook
from dnworker.core.errors import UsageError
from dnworker.runtime import Runtime

log = logging.getLogger("dnworker.notebook")


class ListedRuntime:
    """The entry of one kernel; that of a killed one is removed by whoever reads the list next.

    Args:
        runtime: the notebook's.
        path: returns the notebook's file, as far as it is known.
    """

    def __init__(self, runtime: Runtime, path: Callable[[], Path | None]) -> None:
        self._runtime = runtime
        self._path = path
        self._lock = threading.Lock()
        self._file: Path | None = None
        self._written: tuple[str, Path | None] | None = None
        self._wanted = True

    def note(self, *_: object) -> None:
        """Write the entry soon, unless it says what is so; called often, on any thread."""
        self._wanted = True
        url = self._runtime.url
        if url and self._written != (url, self._path()):
            threading.Thread(target=self._write, name="dnworker list", daemon=True).start()

    def _write(self) -> None:
        with self._lock:
            url, path = self._runtime.url, self._path()
            if not self._wanted or not url or self._written == (url, path):
                return
            self._written = url, path  # also where it cannot be: it is not tried at every cell
            try:
                self._file = register_notebook(url, self._runtime.tokens.main, path)
            except (OSError, UsageError) as exc:
                log.info("`dnworker ps` and `dnworker mcp` do not find this notebook: %s", exc)

    def remove(self) -> None:
        """Take the entry, and the file of its token, out of the list; may be called again."""
        self._wanted = False
        with self._lock:
            file, self._file, self._written = self._file, None, None
            if file is not None:
                forget(file)
