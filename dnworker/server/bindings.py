"""`Binding`: one socket that a server listens on, of TCP or unix; `embedded` opens them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dnworker.core.errors import AddressInUse, UsageError
from dnworker.server.listening import Listening

log = logging.getLogger("dnworker.server")

BACKLOG = 128
LOOPBACK = "127.0.0.1"
LOCK_SECONDS = 2.0
"""How long another process may look at a socket's file before this gives up."""

_WILDCARDS = {"0.0.0.0": LOOPBACK, "::": LOOPBACK}  # noqa: S104  compared with, never bound here


class Binding(msgspec.Struct, frozen=True):
    """One socket that listens.

    Attributes:
        socket: it.
        host: the address that it was bound to; loopback for a unix socket.
        port: of TCP.
        path: of a unix socket.
        is_tls: whether it speaks TLS.
        made: device and inode of a socket's file that was made here; None for one that is not ours.
    """

    socket: socket.socket
    host: str
    port: int | None = None
    path: str | None = None
    is_tls: bool = False
    made: tuple[int, int] | None = None

    @property
    def address(self) -> str:
        """Where clients on this machine find it."""
        if self.path is not None:
            return f"unix:{self.path}"
        host = _WILDCARDS.get(self.host, self.host)
        scheme = "https" if self.is_tls else "http"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    def remove(self) -> None:
        """Remove the socket's file, if it is still the one that was made here; may be called again."""
        if self.path is None or self.made is None:
            return
        try:
            with _alone_in(Path(self.path).parent):
                status = os.lstat(self.path)
                if (status.st_dev, status.st_ino) == self.made:
                    Path(self.path).unlink()
        except FileNotFoundError:
            pass
        except OSError as exc:
            log.warning("the socket %s cannot be removed: %s", self.path, exc.strerror or exc)


def open_bindings(listening: Listening) -> list[Binding]:
    """Return what a server listens on; the first that speaks plain TCP is for worker processes.

    Raises:
        AddressInUse: an OSError: an address cannot be had; says which, and the way out.
        UsageError: the path of a unix socket is something else.
    """
    is_tls = listening.tls is not None
    found: list[Binding] = []
    try:
        if listening.inherited:
            found += [_inherited(number, is_tls=is_tls) for number in listening.inherited]
        elif listening.uds is not None:
            found.append(bind_unix(listening.uds, listening.uds_mode))
        else:
            found.append(_of_tcp(bind(listening.host, listening.port), listening.host, is_tls=is_tls))
        if not any(one.path is None and not one.is_tls for one in found):
            found.append(_of_tcp(bind(LOOPBACK, 0), LOOPBACK))
    except BaseException:
        close_bindings(found)
        raise
    return found


def close_bindings(bindings: list[Binding]) -> None:
    """Remove the files of sockets, and close all."""
    for one in bindings:
        one.remove()
        one.socket.close()


def _of_tcp(listener: socket.socket, host: str, *, is_tls: bool = False) -> Binding:
    return Binding(listener, host, int(listener.getsockname()[1]), is_tls=is_tls)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket of TCP.

    Raises:
        AddressInUse: an OSError: the address cannot be had; the message names it and the way out.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: asyncio turns Nagle's algorithm off for those only, and with it answers wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OverflowError as exc:
        listener.close()
        raise AddressInUse(f"port {port} does not exist; ports are 0 to 65535") from exc
    except OSError as exc:
        listener.close()
        raise AddressInUse(_why_not(host, port, exc)) from exc
    listener.setblocking(False)
    return listener


def _why_not(host: str, port: int, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; port 0 picks a free one"
    if exc.errno in (errno.EACCES, errno.EPERM) and 0 < port < 1024:
        return (
            f"port {port} on {host} is below 1024, and this user may not listen there; take a port from 1024 "
            "on, put a proxy before it, or give the service AmbientCapabilities=CAP_NET_BIND_SERVICE"
        )
    return f"cannot listen on {host}:{port}: {exc.strerror}"


def bind_unix(path: Path, mode: int) -> Binding:
    """Return a listening unix socket; the file of a process that is gone is replaced.

    Raises:
        AddressInUse: an OSError: a process listens there, or the file cannot be made.
        UsageError: the path is no socket.
    """
    if not path.parent.is_dir():
        raise UsageError(
            f"--uds {path}: there is no directory {path.parent}; make it (in a unit: RuntimeDirectory=)",
            code="DN925",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    try:
        with _alone_in(path.parent):
            _remove_stale(path)
            listener.bind(os.fspath(path))
            status = os.lstat(path)
            path.chmod(mode)  # before it listens: nobody comes in by the mode that it was made with
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        if isinstance(exc, AddressInUse):
            raise
        raise AddressInUse(_why_no_socket(path, exc), code="DN925") from exc
    except BaseException:
        listener.close()
        raise
    return Binding(listener, LOOPBACK, path=os.fspath(path), made=(status.st_dev, status.st_ino))


def _why_no_socket(path: Path, exc: OSError) -> str:
    said = f"cannot listen on unix:{path}: {exc.strerror or exc}"
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
        return f"{said}; name a path in a directory that this user may write (in a unit: RuntimeDirectory=)"
    return said


def check_socket_path(path: Path) -> bool:
    """Return whether there is a socket at a path, perhaps one that nobody listens at.

    Raises:
        UsageError: there is something else.
        OSError: that cannot be seen.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(status.st_mode):
        raise UsageError(
            f"--uds {path}: there is something else than a socket; name another path, or remove it",
            code="DN925",
        )
    return True


def _remove_stale(path: Path) -> None:
    if not check_socket_path(path):
        return
    if _is_listened_to(path):
        raise AddressInUse(f"unix:{path} is in use: a process listens there; name another path")
    path.unlink()


def _is_listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:  # so many wait there that one more does not fit
            return True
    return True


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep others out of a directory while a socket is made or removed: two must not replace one."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(number)


def _inherited(number: int, *, is_tls: bool) -> Binding:
    """Return a socket that was passed to this process.

    Raises:
        UsageError: it is none that connections can be accepted of.
    """
    try:
        os.set_inheritable(number, False)
        found = socket.socket(fileno=os.dup(number))  # closed like any other; the unit's own stays
    except OSError as exc:
        raise UsageError(
            f"file descriptor {number} is no socket: {exc.strerror}; the unit's socket needs ListenStream=",
            code="DN929",
        ) from exc
    streams = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if found.family not in streams or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.close()
        raise UsageError(
            f"file descriptor {number} is no socket that listens; the unit's socket needs ListenStream= and "
            "Accept=no",
            code="DN929",
        )
    found.setblocking(False)
    if found.family == socket.AF_UNIX:
        return Binding(found, LOOPBACK, path=_text(found.getsockname()))
    return _of_tcp(found, str(found.getsockname()[0]), is_tls=is_tls)


def _text(name: str | bytes) -> str:
    """Return the name of a unix socket; that of an abstract one is bytes, which begin with a zero."""
    return name if isinstance(name, str) else "@" + os.fsdecode(name[1:])
