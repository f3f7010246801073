"""The list of runtimes that run on this machine; `serve` adds to it, other commands read it.

Each `dnworker serve` has a small file in it while it runs, which names the token's file and holds no token.
"""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dnworker.capability.reading import read_bytes

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


class Running(msgspec.Struct, kw_only=True):
    """One entry of the list; its process may have died since."""

    url: str
    pid: int
    token_file: str | None = None
    working_dir: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether its process exists."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def _home() -> Path:
    return Path.home() / ".dreadnode" / "dnworker"


def own_token_file(token: str) -> Path:
    """Keep a minted token where only its owner can read it; it is never printed."""
    file = _home() / f"runtime-{os.getpid()}.token"
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(token + "\n")
    return file


def redirect_file(address: str) -> Path:
    """Write a file that redirects a browser to a secret address; its command line would show the address."""
    file = _home() / "panel.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(address)}">\n')
    return file


def register(runtime: Runtime, token_file: Path | None) -> Path:
    """Add a runtime to the list; returns the file to `forget`."""
    file = _home() / f"runtime-{os.getpid()}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    running = Running(
        url=runtime.url or "",
        pid=os.getpid(),
        token_file=None if token_file is None else str(token_file.resolve()),
        working_dir=str(Path.cwd()),
    )
    file.write_text(json.dumps(msgspec.to_builtins(running)) + "\n", encoding="utf-8")
    return file


def forget(file: Path) -> None:
    """Remove a runtime from the list, with the token that was minted for it."""
    file.unlink(missing_ok=True)
    file.with_suffix(".token").unlink(missing_ok=True)


def forget_own() -> None:
    """Remove the runtime of this process from the list."""
    forget(_home() / f"runtime-{os.getpid()}.json")


def running() -> list[Running]:
    """Return the runtimes that run; entries of dead processes are removed."""
    found = []
    for file in sorted(_home().glob("runtime-*.json")):
        try:
            one = msgspec.json.decode(read_bytes(file), type=Running)
        except (OSError, msgspec.MsgspecError, RecursionError):
            continue  # being written, or not a file of this list
        if one.is_alive:
            found.append(one)
        else:
            forget(file)
    return found
