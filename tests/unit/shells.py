"""A shell of a plain terminal in this process, for tests of what is loaded into one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from dnworker_jupyter import loading


@contextmanager
def terminal_shell(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Iterator[InteractiveShell]:
    """Give a shell whose runtime, once the extension is loaded, gets a thread; unload it at the end."""
    monkeypatch.setenv("DNWORKER_JOURNAL", "off")
    monkeypatch.setenv("IPYTHONDIR", str(directory))
    monkeypatch.setattr(loading, "RELOAD_SECONDS", 0.01)
    shell = InteractiveShell()
    yield shell
    loading.unload(shell)
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer) or thread.name == "dnworker":
            thread.join(10)
