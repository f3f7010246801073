"""How a client checks the certificate of its runtime: `client_context`, for HTTP and WebSockets alike."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

from dnworker.core.errors import UsageError

CA, CERT, KEY = "DNWORKER_CA", "DNWORKER_CLIENT_CERT", "DNWORKER_CLIENT_KEY"
"""Variables that name files, where no option does."""

LARGEST = 10_000_000
"""Bytes of a file with certificates: that of a whole system has about 300,000."""

_CODE = "DN938"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"

Name = str | os.PathLike[str] | None


def client_context(ca: Name = None, cert: Name = None, key: Name = None) -> ssl.SSLContext:
    """Return what a client uses for TLS, version 1.2 and later; the name of the server is always checked.

    Without an authority these of the system count, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.

    Args:
        ca: file with the authorities that count, and no others; by default that of `DNWORKER_CA`.
        cert: file with the certificate that the client shows; by default that of `DNWORKER_CLIENT_CERT`.
        key: file with its key; by default that of `DNWORKER_CLIENT_KEY`, then the certificate's file.

    Raises:
        UsageError: a file cannot be read, or has no such part.
    """
    authority, ca_source = _named(ca, "--ca", CA)
    shown, cert_source = _named(cert, "--client-cert", CERT)
    own_key, key_source = _named(key, "--client-key", KEY)
    if authority is None:
        context = _of_system()
    else:
        _check(authority, ca_source, _CERTIFICATE, "certificate")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(authority)
        except (OSError, ssl.SSLError) as exc:
            raise UsageError(f"{ca_source} {authority}: {_said(exc)}", code=_CODE) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if shown is None and own_key is not None:
        raise UsageError(f"{key_source} needs the certificate of that key: --client-cert FILE", code=_CODE)
    if shown is not None:
        _check(shown, cert_source, _CERTIFICATE, "certificate")
        _check(own_key or shown, key_source if own_key else cert_source, _KEY, "private key")
        _show(context, shown, own_key, cert_source)
    return context


def _named(given: Name, option: str, variable: str) -> tuple[str | None, str]:
    """Return a file's name, and what it is named by."""
    if given is not None:
        return os.fspath(given), option
    return os.environ.get(variable) or None, variable


def _of_system() -> ssl.SSLContext:
    """Return a context with the authorities of the system; those of certifi where it has none."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):  # OpenSSL says nothing of one that is not there
        for name in filter(None, os.environ.get(variable, "").split(os.pathsep)):
            if not os.access(name, os.R_OK):
                raise UsageError(f"{variable} {name} cannot be read; set it right, or unset it", code=_CODE)
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    return ssl.create_default_context()


def _check(file: str, source: str, mark: bytes, what: str) -> None:
    """Read a file.

    Raises:
        UsageError: it is no regular file, cannot be read, or has no such part.
    """
    try:
        if not stat.S_ISREG(Path(file).stat().st_mode):  # first: a pipe may never end
            raise UsageError(f"{source} {file} is no regular file; name one that is PEM", code=_CODE)
        with Path(file).open("rb") as stream:
            text = stream.read(LARGEST + 1)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise UsageError(f"{source} {file} cannot be read: {why}", code=_CODE) from exc
    if len(text) > LARGEST or mark not in text:
        raise UsageError(f"{source} {file} has no {what} in PEM; it begins with -----BEGIN", code=_CODE)


def _show(context: ssl.SSLContext, cert: str, key: str | None, source: str) -> None:
    is_encrypted = False

    def no_password() -> str:
        nonlocal is_encrypted
        is_encrypted = True
        return ""

    try:
        # With a function: without one, OpenSSL asks for the password on the terminal.
        context.load_cert_chain(cert, key, password=no_password)
    except (OSError, ssl.SSLError) as exc:
        if is_encrypted:
            text = f"the key of {source} {cert} has a password; write it without one: openssl pkey -in KEY"
        elif isinstance(exc, ssl.SSLError) and exc.reason == "KEY_VALUES_MISMATCH":
            text = f"{key or cert} is not the key of {source} {cert}; give those that were made together"
        else:
            text = f"{source} {cert}: {_said(exc)}"
        raise UsageError(text, code=_CODE) from exc


def _said(exc: OSError) -> str:
    """Return what OpenSSL or the system says, without its own place."""
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return exc.reason.replace("_", " ").lower()
    return exc.strerror or str(exc)
