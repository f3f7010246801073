"""`ListedRuntime`: this notebook in the list of runtimes, by which commands such as `dnworker ps` find it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from dnworker.core.errors import UsageError
from dnworker.engine.engine import Engine
from dnworker.engine.running import forget, register_notebook

log = logging.getLogger("dnworker.notebook")


class ListedRuntime:
    """The entry of one kernel; that of a killed one is removed by whoever reads the list next.

    Args:
        engine: the notebook's runtime.
        url: returns its address, while it has one.
        path: returns the notebook's file, as far as it is known.
    """

    def __init__(
        self, engine: Engine, url: Callable[[], str | None], path: Callable[[], Path | None]
    ) -> None:
        self._engine = engine
        self._url = url
        self._path = path
        self._lock = threading.Lock()
        self._file: Path | None = None
        self._written: tuple[str, Path | None] | None = None
        self._wanted = True

    def note(self, *_: object) -> None:
        """Write the entry soon, unless it says what is so; called often, on any thread."""
        self._wanted = True
        url = self._url()
        if url and self._written != (url, self._path()):
            threading.Thread(target=self._write, name="dnworker list", daemon=True).start()

    def _write(self) -> None:
        with self._lock:
            url, path = self._url(), self._path()
            if not self._wanted or not url or self._written == (url, path):
                return
            self._written = url, path  # also where it cannot be: it is not tried at every cell
            try:
                self._file = register_notebook(url, self._engine.tokens.main, path)
            except (OSError, UsageError) as exc:
                log.info("`dnworker ps` and `dnworker mcp` do not find this notebook: %s", exc)

    def remove(self) -> None:
        """Take the entry, and the file of its token, out of the list; may be called again."""
        self._wanted = False
        with self._lock:
            file, self._file, self._written = self._file, None, None
            if file is not None:
                forget(file)
