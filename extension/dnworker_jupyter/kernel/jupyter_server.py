"""Asks the Jupyter server of this kernel which notebook is its; used by `location`.

`JPY_SESSION_NAME` has the file's name when the kernel began; after a rename only the server knows it.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ANSWER_LIMIT = 1.0
"""Seconds that one server may take for an answer."""

TOTAL_LIMIT = 2.0
"""Seconds after which no other server is asked."""

LONGEST_ANSWER = 5_000_000
"""Bytes of a list of sessions that are read."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def ask_servers(connection_file: str | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the notebook's file as the Jupyter server names it now; None where no server knows the kernel.

    Blocks, for two seconds or so at most: call it on a thread.

    Args:
        connection_file: of the kernel; its name has the kernel's id, and servers keep their files beside it.
        environ: where `JPY_PARENT_PID` and `JUPYTERHUB_API_TOKEN` are read.
    """
    if connection_file is None:
        return None
    file = Path(connection_file)
    kernel_id = file.stem.removeprefix("kernel-")
    begun = time.monotonic()
    for server in _servers(file.parent, environ.get("JPY_PARENT_PID", "")):
        if time.monotonic() - begun > TOTAL_LIMIT:
            break
        token = str(server.get("token") or environ.get("JUPYTERHUB_API_TOKEN", ""))
        try:
            sessions = _sessions(server, token)
        except (OSError, ValueError, http.client.HTTPException):  # gone, busy, or it wants a password
            continue
        if (found := _notebook_in(sessions, kernel_id, environ)) is not None:
            root = server.get("root_dir") or server.get("notebook_dir") or "/"
            return Path(str(root)) / found
    return None


def _servers(directory: Path, parent: str) -> Iterator[dict[str, Any]]:
    """Yield what servers that run have written of themselves; where one started this kernel, only that.

    A token must reach its own server alone: in a home that several machines share, files of servers that run
    elsewhere stand beside it.
    """
    found = []
    for file in [*directory.glob("jpserver-*.json"), *directory.glob("nbserver-*.json")]:
        pid = file.stem.rpartition("-")[2]
        if parent not in ("", pid):
            continue
        try:
            about = file.stat()
            if about.st_uid != os.getuid():
                continue
            os.kill(int(pid), 0)
            server = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it has ended, or writes just now
            continue
        if isinstance(server, dict):
            found.append((about.st_mtime, server))
    for _, server in sorted(found, key=lambda one: -one[0]):  # the newest first
        yield server


def _sessions(server: Mapping[str, Any], token: str) -> object:
    """Return the list of sessions of one server.

    Raises:
        OSError: it does not answer, or does not let us in.
        ValueError: it answers something else.
        HTTPException: likewise.
    """
    # Not httpx: it logs every request, and a notebook that logs at that level would show one for each cell.
    url = urlsplit(str(server["url"]) if "url" in server else "")
    connection = _connect(url.scheme, url.hostname or "", url.port, str(server.get("sock") or ""))
    try:
        base = str(server.get("base_url") or url.path or "/").rstrip("/")
        headers = {"Authorization": f"token {token}"} if token else {}
        # Asking is no activity: a server that stops when it is idle must still do so.
        connection.request("GET", f"{base}/api/sessions?no_track_activity=1", headers=headers)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError(f"status {answer.status}")
        text = answer.read(LONGEST_ANSWER)
    finally:
        connection.close()
    return json.loads(text)


def _connect(scheme: str, host: str, port: int | None, sock: str) -> http.client.HTTPConnection:
    if sock:
        return _UnixConnection(sock)
    if scheme == "https":
        context = ssl.create_default_context()
        if host in _LOOPBACK:  # mostly a certificate that the user made; nobody is between us
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=ANSWER_LIMIT, context=context)
    if scheme != "http":
        raise OSError(f"no address of a server: {scheme!r}")
    return http.client.HTTPConnection(host, port, timeout=ANSWER_LIMIT)


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a server that listens at a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_LIMIT)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _notebook_in(sessions: object, kernel_id: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of the notebook that the kernel runs; of several, the one that began it."""
    paths = [
        str(session.get("path", "")).removeprefix("RTC:")
        for session in (sessions if isinstance(sessions, list) else [])
        if isinstance(session, dict)
        and isinstance(kernel := session.get("kernel"), dict)
        and kernel.get("id") == kernel_id
        and session.get("type", "notebook") == "notebook"
    ]
    notebooks = [path.lstrip("/") for path in paths if path.endswith(".ipynb")]
    begun_with = environ.get("JPY_SESSION_NAME", "")
    return next((path for path in notebooks if begun_with.endswith(f"/{path}")), None) or next(
        iter(notebooks), None
    )
