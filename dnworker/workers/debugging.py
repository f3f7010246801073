"""`Debugged`: which worker processes start with debugpy, and where each listens; `SubprocessWorker` asks.

The child's side is `child/debug.py`. debugpy knows no password: who can connect to its port runs code in the
process. It listens on the loopback address alone, and whoever shows the port shows `WARNING`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from dnworker.core.errors import UsageError

HOST = "127.0.0.1"

VARIABLE = "DNWORKER_DEBUG"
"""Set for a process that is to listen: the port, and `:wait` behind it where it waits for the client."""

WARNING = (
    "debugpy asks for no password: anybody with an account on this machine can attach and run code as you"
)


class ProcessDebug(msgspec.Struct):
    """How one worker's processes are debugged; a restart keeps the port where it is free."""

    wait: bool = False
    """Whether the script begins only when a client has attached."""
    port: int | None = None
    """The port of the newest start; None before the first."""

    @property
    def where(self) -> str:
        """Where it listens, as text."""
        return f"debugpy listens on {HOST}:{self.port}"

    def reserve(self) -> int:
        """Return the port for the next start: the last one, or a free one where another process has it.

        Raises:
            OSError: no port is free.
        """
        if self.port is None or not _is_free(self.port):
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                self.port = probe.getsockname()[1]
        return self.port

    def variable(self) -> str:
        """Return the value of `VARIABLE` for the next start."""
        return f"{self.reserve()}{':wait' if self.wait else ''}"


class Debugged:
    """The worker processes of one runtime that start with debugpy, by qualified name."""

    def __init__(self) -> None:
        self._all: dict[str, ProcessDebug] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def of(self, qualified_name: str) -> ProcessDebug | None:
        """Return how a worker is debugged; None where it is not."""
        return self._all.get(qualified_name)

    def put(self, qualified_name: str, debug: ProcessDebug | None) -> ProcessDebug | None:
        """Debug a worker from its next start on, or with None no longer; returns how it was before."""
        before = self._all.pop(qualified_name, None)
        if debug is not None:
            self._all[qualified_name] = debug
        return before


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as debugpy listens: connections may linger
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def with_debugpy(command: str, args: Sequence[str], *, who: str) -> list[str]:
    """Return the arguments by which a command runs with debugpy at hand.

    A Python has debugpy or has it not: its process says so. `uv run` is given it.

    Raises:
        UsageError: the command runs no file of Python, as far as can be seen; begins with `who`.
    """
    program = Path(command).name
    if program == "uv" and [*args[:1]] == ["run"]:
        return ["run", "--with", "debugpy", *args[1:]]
    if program.startswith(("python", "pypy")) and "-c" not in args:
        return list(args)
    shown = " ".join([program, *args[:1]])
    raise UsageError(
        f"{who} runs {shown!r}: a debugger attaches to `python FILE` and `uv run FILE` only; "
        "start others with the debugger of their own language",
        code="DN321",
    )


def launch_entry(name: str, debug: ProcessDebug, root: Path) -> str:
    """Return the entry of VS Code's `launch.json` that attaches to a worker, as JSON.

    The paths are mapped to themselves: where the editor has the files elsewhere, `localRoot` is changed.
    """
    entry = {
        "name": f"dnworker: {name}",
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": HOST, "port": debug.port},
        "justMyCode": True,
        "pathMappings": [{"localRoot": str(root), "remoteRoot": str(root)}],
    }
    return json.dumps(entry, indent=2)


def how_to_attach(name: str, debug: ProcessDebug, root: Path, script: str | None) -> str:
    """Return what a person reads who wants to attach: where, what to open, the entry, the warning."""
    waits = "; it waits for a debugger before it runs" if debug.wait else ""
    opened = [f"open {script} and set breakpoints there"] if script else []
    return "\n".join(
        [
            f"{name}: {debug.where}{waits}",
            *opened,
            "an entry for launch.json:",
            launch_entry(name, debug, root),
            WARNING,
        ]
    )
