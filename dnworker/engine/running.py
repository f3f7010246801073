"""The list of runtimes that run on this machine; `serve` and notebooks add to it, other commands read it.

Each runtime has a small file in it while it runs, which names the token's file and holds no token.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec

from dnworker.capability.reading import read_bytes
from dnworker.core.errors import UsageError
from dnworker.core.files import home_directory, working_directory, write_atomically

log = logging.getLogger("dnworker.serve")


class Running(msgspec.Struct, kw_only=True):
    """One entry of the list; its process may have died since."""

    url: str
    pid: int
    token_file: str | None = None
    working_dir: str = ""
    addresses: list[str] = []
    """All of its addresses; `url` is the one for this machine."""
    is_notebook: bool = False
    """Whether it is the runtime of a notebook's kernel."""
    notebook: str | None = None
    """The notebook's file, where it is known."""

    @property
    def waits_for_us(self) -> bool:
        """Whether it is the notebook that runs this command, as by `!dnworker ps`: it cannot answer then."""
        return self.is_notebook and self.pid in _ancestors()

    @property
    def described(self) -> str:
        """Its address, and what it is: to be told from the others."""
        what = f"notebook {self.notebook}" if self.notebook else f"in {self.working_dir}"
        return f"{self.url} ({'notebook ' if self.is_notebook and not self.notebook else ''}{what})"

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


def _ancestors() -> set[int]:
    """Return the processes above this one, as far as the system tells."""
    found, pid = set[int](), os.getppid()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:  # no Linux, or it has ended
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return found


def _home() -> Path:
    return home_directory() / ".dreadnode" / "dnworker"


def own_token_file(token: str) -> Path:
    """Keep a minted token where only its owner can read it; it is never printed.

    Raises:
        UsageError: it cannot be kept, and so nobody could call the runtime.
    """
    file = _home() / f"runtime-{os.getpid()}.token"
    with suppress(OSError):
        file.unlink()  # of a process that had this number; its mode and links are not ours
    try:
        write_atomically(file, token + "\n", is_of_process=True)
    except OSError as exc:
        raise UsageError(
            f"the token that was made cannot be kept in {file.parent}: {exc.strerror or exc}; give one, by "
            "--token-file or DREADNODE_RUNTIME_TOKEN",
            code="DN907",
        ) from exc
    return file


class Listed(Protocol):
    """A runtime, as far as the list says something of it."""

    services: Any

    @property
    def url(self) -> str | None:
        """Its address."""

    @property
    def server(self) -> Any:
        """Its server, with `addresses`; None where it listens nowhere."""


def register(runtime: Listed, token_file: Path | None) -> Path:
    """Add a runtime to the list; returns the file to `forget`.

    Where nothing can be written, the runtime runs all the same, and a line of the log says what it lacks.
    """
    running()  # which forgets those that were killed
    file = _home() / f"runtime-{os.getpid()}.json"
    entry = Running(
        url=runtime.url or "",
        pid=os.getpid(),
        addresses=[] if runtime.server is None else runtime.server.addresses,
        token_file=None if token_file is None else os.path.realpath(token_file),
        working_dir=str(working_directory()),
    )
    try:
        write_atomically(file, json.dumps(msgspec.to_builtins(entry)) + "\n", is_of_process=True)
    except OSError as exc:
        runtime.services.log_files.is_announced = True
        log.warning(
            "nothing can be kept in %s: %s; other commands do not find this runtime by themselves, and where "
            "logs of workers cannot be kept either, their lines go to standard error",
            file.parent,
            exc.strerror or exc,
        )
    return file


def register_notebook(url: str, token: str, notebook: Path | None) -> Path:
    """Add the runtime of this process's notebook to the list, or say anew where its notebook is.

    Returns:
        The file to `forget`.

    Raises:
        OSError: it cannot be written; the runtime runs all the same.
        UsageError: its token cannot be kept.
    """
    running()
    file = _home() / f"runtime-{os.getpid()}.json"
    entry = Running(
        url=url,
        pid=os.getpid(),
        addresses=[url],
        token_file=os.path.realpath(own_token_file(token)),
        working_dir=str(working_directory()),
        is_notebook=True,
        notebook=None if notebook is None else str(notebook),
    )
    write_atomically(file, json.dumps(msgspec.to_builtins(entry)) + "\n", is_of_process=True)
    return file


def forget(file: Path) -> None:
    """Remove a runtime from the list, with the token that was minted for it."""
    for one in (file, file.with_suffix(".token")):
        with suppress(OSError):  # not there, or in a home that can only be read
            one.unlink()


def forget_own() -> None:
    """Remove the runtime of this process from the list."""
    forget(_home() / f"runtime-{os.getpid()}.json")


def running() -> list[Running]:
    """Return the runtimes that run; entries of dead processes are removed."""
    found = []
    for file, one in entries():
        if one.is_alive:
            found.append(one)
        else:
            forget(file)
    return found


def entries() -> list[tuple[Path, Running]]:
    """Return the files of the list with what they say, those of dead processes, too; nothing is removed.

    They come by the number of the process, which is mostly the order in which they started.
    """
    found = []
    for file in _home().glob("runtime-*.json"):
        try:
            found.append((file, msgspec.json.decode(read_bytes(file), type=Running)))
        except (OSError, msgspec.MsgspecError, RecursionError):
            continue  # being written, or not a file of this list
    return sorted(found, key=lambda entry: entry[1].pid)
