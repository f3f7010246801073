"""Where a runtime is, as a client is told: `http://`, `https://`, or `unix:` and the path of a socket."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from dnworker.core.errors import Invalid
from dnworker.core.text import shorten

UNIX = "unix:"
"""Begins the address of a unix socket, as nginx, gRPC and systemd write it."""

LONGEST_UNIX = 107
"""Bytes of a socket's path that the system takes (unix(7): 108, with a zero at the end)."""

LONGEST_SHOWN = 200
"""Characters of what is no address."""

_HOST_AND_PORT = re.compile(r"[\w.-]+:\d{1,5}")
_USER = re.compile(r"//[^/?#]*@")


def resolve_url(argument: str | None = None) -> str:
    """Return where the runtime is: argument, `DREADNODE_RUNTIME_URL`, then host and port (contract 8.1).

    Raises:
        Invalid: a ValueError: that is no address.
    """
    env = os.environ
    if argument:
        return checked_url(argument, "server_url")
    if url := env.get("DREADNODE_RUNTIME_URL"):
        return checked_url(url, "DREADNODE_RUNTIME_URL")
    host = env.get("DREADNODE_RUNTIME_HOST") or env.get("DREADNODE_SERVER_HOST") or "127.0.0.1"
    port = env.get("DREADNODE_RUNTIME_PORT") or env.get("DREADNODE_SERVER_PORT") or "8787"
    return checked_url(f"http://{host}:{port}", "DREADNODE_RUNTIME_HOST and _PORT")


def socket_of(url: str) -> str | None:
    """Return the path of a unix socket's address, as the system takes it; None for any other address.

    `unix:@name` is a socket without a file: in the kernel its name begins with a zero.
    """
    if not url.startswith(UNIX):
        return None
    path = url.removeprefix(UNIX)
    return "\0" + path[1:] if path.startswith("@") else path


def base_of(url: str) -> str:
    """Return the address that requests name; a unix socket has no host, and is asked as localhost."""
    return "http://localhost" if url.startswith(UNIX) else url


def is_near(url: str) -> bool:
    """Return whether an address is on this machine, as far as can be seen of it."""
    host = urlsplit(url).hostname
    if url.startswith(UNIX) or host == "localhost":
        return True
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def checked_url(url: str, source: str) -> str:
    """Return an address without its last slashes; that of a unix socket with its whole path.

    Args:
        url: the address.
        source: what it was given as.

    Raises:
        Invalid: it is none; names its source, and never a password.
    """
    if (problem := _problem_of(url)) is None:
        return _whole(url) if url.startswith(UNIX) else url.rstrip("/")
    example = "such as http://127.0.0.1:8787"
    if isinstance(url, str) and _HOST_AND_PORT.fullmatch(url):
        example = f"try http://{url}"
    elif isinstance(url, str) and (url.startswith(("/", "./", UNIX)) or "+unix:" in url):
        example = "such as unix:/run/dnworker/api.sock"
    shown = repr(shorten(_USER.sub("//***@", str(url)), LONGEST_SHOWN))
    raise Invalid(f"{shown} is no address of a runtime, as {source}: {problem}; {example}")


def _whole(url: str) -> str:
    """Return a unix socket's address with its whole path: this process may change its directory."""
    path = url.removeprefix(UNIX)
    if path.startswith("@"):
        return url
    return UNIX + _absolute(path.removeprefix("//"))


def _absolute(path: str) -> str:
    return os.path.normpath(Path.cwd() / path)  # links in it stay: they may lead elsewhere later


def _problem_of(url: object) -> str | None:
    if not isinstance(url, str):
        return f"it is a text, not {type(url).__name__}"
    if url.startswith(UNIX):
        return _problem_of_socket(url)
    if any(char.isspace() or not char.isprintable() for char in url):
        return "it has a space or a control character"
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "it is no URL"
    if parts.scheme not in ("http", "https"):
        return "it begins with http://, https:// or unix:"
    try:
        _ = parts.port
    except ValueError:
        return "its port is no number from 0 to 65535"
    return None if host else "it names no host"


def _problem_of_socket(url: str) -> str | None:
    path = url.removeprefix(UNIX)
    if not all(char.isprintable() for char in path):
        return "it has a control character"
    if path.startswith("//"):
        if not path.startswith("///"):
            return "a unix socket is on no host"
        path = path.removeprefix("//")
    if not path.strip("/@"):
        return "it names no socket"
    is_abstract = path.startswith("@")
    size = len(os.fsencode(path if is_abstract else _absolute(path)))
    if size > LONGEST_UNIX + is_abstract:  # a name in the kernel has no zero at its end
        return f"the path is {size} bytes long, and a socket's has at most {LONGEST_UNIX}"
    return None
