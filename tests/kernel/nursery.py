"""Starts kernels quickly: forks them from a process that has imported what every kernel imports.

Run as a program it is that process, one for each process of pytest. It reads a JSON line for each kernel that is
wanted, and answers with the kernel's process id. It imports third-party packages only: dnworker is loaded in the
kernel, as always. `Nursery` is the side of the tests.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = (
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "ipykernel.ipkernel",
    "ipykernel.datapub",
    "ipykernel.debugger",
    "ipykernel.heartbeat",
    "IPython.core.completer",
    "IPython.core.magics",
    "matplotlib_inline.backend_inline",
    "anywidget",
    "croniter",
    "httptools",
    "httpx",
    "msgspec",
    "packaging.requirements",
    "regex",
    "sqlite3",
    "starlette.applications",
    "starlette.routing",
    "uvicorn",
    "uvicorn.protocols.http.httptools_impl",
    "websockets.asyncio.client",
    "yaml",
)


class Nursery:
    """The process that kernels are forked from."""

    def __init__(self) -> None:
        environ = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # which only silences debugpy
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start_kernel(self, connection_file: str) -> int:
        """Start a kernel in this process's directory and environment; returns its process id."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        wanted = {"file": connection_file, "cwd": str(Path.cwd()), "env": dict(os.environ)}
        process.stdin.write(json.dumps(wanted) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def end(self) -> None:
        """End the process, and so the kernels that are left."""
        with self._process as process:
            process.terminate()


@cache
def nursery() -> Nursery:
    """Return the one of this process, which ends with it."""
    started = Nursery()
    atexit.register(started.end)
    return started


def main() -> None:
    """Fork a kernel for each line of standard input; in the child, be that kernel."""
    sys.path.remove(str(Path(__file__).parent))
    os.environ["JPY_PARENT_PID"] = str(
        os.getpid()
    )  # ipykernel reads it at import: kernels end with this process
    for name in PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for kernels
    answers = os.dup(1)
    os.dup2(2, 1)
    while line := _line():
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            become_kernel(json.loads(line))
            return
        os.write(answers, f"{pid}\n".encode())


def _line() -> bytes:
    """Read a line; not through a buffer, which a child would inherit."""
    line = b""
    while not line.endswith(b"\n") and (more := os.read(0, 1)):
        line += more
    return line


def become_kernel(wanted: dict[str, Any]) -> None:
    """Be what `python -m ipykernel_launcher -f FILE` is, in the directory and environment of the test."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"] | {"JPY_PARENT_PID": str(os.getppid())})
    gc.unfreeze()
    import ipykernel_launcher
    from ipykernel import kernelapp

    sys.argv = [ipykernel_launcher.__file__, "-f", wanted["file"]]
    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
