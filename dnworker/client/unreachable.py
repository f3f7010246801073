"""`unreachable` says why no runtime could be reached, with the way out; for HTTP and WebSockets alike."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator

from dnworker.client.address import UNIX
from dnworker.core.errors import RuntimeUnavailable

_NOT_YET, _EXPIRED = 9, 10
_NAME, _EMAIL, _ADDRESS = 62, 63, 64
"""Numbers of OpenSSL for what is wrong with a certificate (X509_V_ERR_ in x509_vfy.h)."""

_PLAIN = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})

_CUT = (ConnectionResetError, BrokenPipeError, EOFError)
"""What a client may see of a server that refuses its handshake: the end overtakes the word for it."""


def unreachable(url: str, exc: BaseException, what: str = "no runtime answers") -> RuntimeUnavailable:
    """Return the error that a client raises.

    Args:
        url: where the runtime is.
        exc: what the attempt to reach it has raised.
        what: says so in general, where the cause has no sentence of its own.
    """
    for one in _chain(exc):
        if isinstance(one, RuntimeUnavailable):
            return one
        if (known := _of_certificate(url, one) or _of_socket(url, one)) is not None:
            text, code, is_final = known
            failure = RuntimeUnavailable(text, code=code)
            failure.is_final = is_final
            return failure
    is_late = any(isinstance(one, TimeoutError) for one in _chain(exc))
    otherwise = "it took too long to connect" if is_late else type(exc).__name__
    said = next(filter(None, map(_text, _chain(exc))), otherwise)
    if url.startswith("https:") and any(isinstance(one, _CUT) for one in _chain(exc)):
        return RuntimeUnavailable(
            f"{what} at {url}, which ended the connection ({said}); where it wants certificates of clients, "
            "--client-cert FILE, or DNWORKER_CLIENT_CERT, gives one",
            code="DN938",
        )
    return RuntimeUnavailable(f"{what} at {url}: {said}")


def _text(exc: BaseException) -> str:
    """Return what an exception says; of the system's without its number, of a time limit's nothing."""
    if type(exc).__name__ == "CancelledError":  # by its name: a probe imports no asyncio
        return ""  # it names an object of the library that set the limit
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Walk an exception and what led to it: libraries wrap what the system has said."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [exc]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else []
        waiting += [one.__cause__, one.__context__]


def _of_certificate(url: str, exc: BaseException) -> tuple[str, str, bool] | None:
    """Return what to say of a failed handshake, its code, and whether to try again is of no use."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _why_not(url, exc), "DN927", True
    reason = getattr(exc, "reason", None) if isinstance(exc, ssl.SSLError) else None
    if reason in _PLAIN:
        plain = "http://" + url.partition("://")[2]
        return f"{url} does not speak TLS; is it {plain}?", "DN906", True
    if reason is not None and "ALERT" in reason:
        said = reason.lower().rpartition("alert_")[2].replace("_", " ")
        text = f"{url} refused the TLS of this client ({said}); --client-cert FILE shows it a certificate"
        return text, "DN938", True
    return None


def _why_not(url: str, exc: ssl.SSLCertVerificationError) -> str:
    said = exc.verify_message or str(exc)
    if exc.verify_code in (_EXPIRED, _NOT_YET):
        when = "has expired" if exc.verify_code == _EXPIRED else "is not valid yet"
        return f"the certificate of {url} {when}: renew the file of `serve --tls-cert`, or set the clock here"
    if exc.verify_code in (_NAME, _EMAIL, _ADDRESS):
        return (
            f"the certificate of {url} is for another name ({said.rstrip('.')}); give --url with a name that "
            "it has, or make one for this name"
        )
    return (
        f"the certificate of {url} is of an authority that is not trusted here ({said}); name the file with "
        "its authority: --ca FILE, or DNWORKER_CA"
    )


def _of_socket(url: str, exc: BaseException) -> tuple[str, str, bool] | None:
    """Return what to say of a unix socket, its code, and whether to try again is of no use."""
    if not url.startswith(UNIX) or not isinstance(exc, OSError):
        return None
    code = "DN939"
    if exc.errno == errno.ENOENT:
        text = f"there is no socket {url}; start `dnworker serve --uds PATH`, or name the right path"
        return text, code, False
    if exc.errno == errno.ECONNREFUSED:
        text = (
            f"nobody listens at {url}: its runtime has ended, or it is another file; start `dnworker serve`"
        )
        return text, code, False
    if exc.errno in (errno.EACCES, errno.EPERM):
        text = (
            f"this user may not use {url}; `serve --uds-mode 0660` lets the group of the socket in, and the "
            "directories above must let it through"
        )
        return text, code, True
    if exc.errno in (errno.ENOTSOCK, errno.EPROTOTYPE, errno.ENOTDIR):
        return f"{url} is no socket of a runtime; name that of `serve --uds`", code, True
    return None
