"""Refuses what planned files may not do while they are proved, and notes where they tried; used by child.

An audit hook sees what Python code does. It is no jail: it finds out what a notebook does by mistake, and
does not see what C code of a package does by itself.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

# Not pathlib: the child pays for what is imported here.
# ruff: noqa: PTH118, PTH120

_IMPORTS = ("<frozen importlib._bootstrap>", os.path.join("importlib", "metadata", "__init__.py"))
"""How the files of code end that imports, or that reads what is installed."""

_NETWORK = (
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr",
    "socket.getnameinfo", "socket.sendto", "socket.sendmsg", "urllib.Request", "http.client.connect",
    "ftplib.connect", "smtplib.connect", "imaplib.open", "poplib.connect", "nntplib.connect",
    "telnetlib.Telnet.open",
)  # fmt: skip
_PROCESSES = (
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn",
    "os.startfile", "pty.spawn", "os.kill", "os.killpg", "signal.pthread_kill",
)  # fmt: skip
_WRITES = (
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
    "os.chown", "os.lchown", "os.utime", "os.setxattr", "os.removexattr", "tempfile.mkstemp",
    "tempfile.mkdtemp", "shutil.rmtree", "sqlite3.connect",
)  # fmt: skip
_READS = ("open", "os.listdir", "os.scandir")

CATEGORIES = {
    **dict.fromkeys(_NETWORK, "network"),
    **dict.fromkeys(_PROCESSES, "process"),
    **dict.fromkeys(_WRITES, "file-write"),
    **dict.fromkeys(_READS, "file-read"),
    "builtins.input": "input",
}

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_OF_THE_SYSTEM = (
    "/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo", "/etc/localtime",
    "/etc/timezone", "/etc/ssl", "/etc/pki", "/usr/lib/ssl", "/usr/share/ca-certificates", "/etc/mime.types",
    "/dev/null", "/dev/urandom", "/dev/random", "/proc", "/sys", "/usr/share/locale", "/etc/os-release",
    "/usr/lib/os-release",
)  # fmt: skip
"""What the standard library reads for itself."""


_SECRET_OF_URL = re.compile(r"(?<=://)[^/@\s'\"]+@|\?[^'\"]*")
"""Where an address may have a password or a key."""


class Refused(BaseException):
    """Planned code does what it may not do; `except Exception` does not catch it."""


class Unreachable(OSError):
    """An import asks the network, which it finds as it would be on a machine without one."""


class Refusals:
    """The audit hook, and what it refused; `notes` are dicts with `path`, `line`, `category` and `detail`.

    Args:
        root: the directory of the planned files.
        cwd: the directory of the notebook, whose files are read by no import.
    """

    def __init__(self, root: str, cwd: str) -> None:
        self.notes: list[dict[str, Any]] = []
        self._root = os.path.realpath(root)
        self._cwd = os.path.realpath(cwd)
        places = [sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.__file__), *sys.path]
        self._places = [os.path.realpath(p) for p in places if p and os.path.realpath(p) != os.sep]
        self._armed = False

    def install(self) -> None:
        """Begin to listen; Python never lets go of an audit hook."""
        sys.addaudithook(self._hear)

    def arm(self) -> None:
        """Refuse from now on."""
        self._armed = True

    def disarm(self) -> None:
        """Refuse nothing more."""
        self._armed = False

    def planned(self, filename: str) -> str | None:
        """Return the path of a planned file within the capability; None for any other file."""
        if not filename.startswith(self._root + os.sep):
            return None
        return filename[len(self._root) + 1 :].replace(os.sep, "/")

    def _hear(self, event: str, arguments: Sequence[Any]) -> None:
        category = CATEGORIES.get(event)
        if category is None or not self._armed:
            return
        detail = _detail(event, arguments)
        if event in _READS or event == "sqlite3.connect":
            category = self._category_of_file(event, arguments, category)
            if category is None:
                return
        importing, path, line = self._place(sys._getframe(1))
        if importing:
            if category == "network" and event != "socket.bind":
                raise Unreachable(errno.ENETUNREACH, "an import asks the network", detail)
            return
        if path is None and category == "file-read":
            return  # of a thread that a library has started
        note = {"path": path, "line": line, "category": category, "detail": detail}
        if note not in self.notes:
            self.notes.append(note)
        raise Refused(detail)

    def _place(self, frame: FrameType | None) -> tuple[bool, str | None, int | None]:
        """Return whether an import does it, and else the innermost planned file and its line."""
        while frame is not None:
            filename = frame.f_code.co_filename
            if filename.endswith(_IMPORTS):
                return True, None, None
            path = self.planned(filename)
            if path is not None:
                return False, path, frame.f_lineno
            frame = frame.f_back
        return False, None, None

    def _category_of_file(self, event: str, arguments: Sequence[Any], category: str) -> str | None:
        """Return what is done with a file; None where nobody minds."""
        target = arguments[0] if arguments else None
        if target is None or isinstance(target, int):
            target = "." if event != "open" else None
        if target is None:
            return None  # a descriptor that is open
        try:
            name = os.fsdecode(target)
        except TypeError:
            return category
        if event == "sqlite3.connect":
            return None if name in ("", ":memory:") else category
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            return None if name == os.devnull else "file-write"
        if name == "/dev/tty":
            return "input"
        return None if self._may_read(name) else category

    def _may_read(self, name: str) -> bool:
        path = os.path.realpath(name)
        longest = max((p for p in (*self._places, self._root) if _is_below(path, p)), key=len, default="")
        if longest:
            return not (_is_below(path, self._cwd) and len(self._cwd) >= len(longest))
        return any(_is_below(name, p) or _is_below(path, p) for p in _OF_THE_SYSTEM)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def _detail(event: str, arguments: Sequence[Any]) -> str:
    """Return what is tried, with its first plain argument: a path, a command or an address."""
    for argument in arguments:
        if type(argument) in (str, bytes, int) and argument not in ("", b""):
            return f"{event} {_SECRET_OF_URL.sub('', repr(argument))}"[:200]
        if type(argument) is tuple and argument and type(argument[0]) is str:
            return f"{event} {':'.join(map(str, argument[:2]))}"[:200]
        if isinstance(argument, os.PathLike):
            return f"{event} {os.fsdecode(os.fspath(argument))!r}"[:200]
    return event
