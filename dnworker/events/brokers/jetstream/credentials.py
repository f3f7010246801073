"""What a node signs in with: files of credentials and certificates, looked at before they are used."""

from __future__ import annotations

import ssl
from pathlib import Path

from dnworker.core.errors import UsageError

LARGEST = 65_536
"""Bytes of a file of credentials; one has about a thousand."""
_JWT_MARK = "-----BEGIN NATS USER JWT-----"


def is_seed(creds: Path, option: str = "--creds") -> bool:
    """Return whether a file has the seed of an nkey; if not, it is a `.creds` file with a JWT and its seed.

    Raises:
        UsageError: the file cannot be read or is neither.
    """
    text = _text_of(creds, option)
    if _JWT_MARK in text:
        return False
    if text.strip().startswith("SU") and len(text.split()) == 1:
        return True
    raise UsageError(
        f"{option} {creds}: neither a .creds file nor the seed of an nkey, which begins with SU", code="DN804"
    )


def tls_context(
    ca: Path | None, cert: Path | None, key: Path | None, option: str = "--broker"
) -> ssl.SSLContext | None:
    """Return how TLS is checked and signed; None for the machine's own authorities and no certificate.

    Raises:
        UsageError: a file is not there or is no certificate, or the key is of another one.
    """
    if cert is None and key is not None:
        raise UsageError(
            f"{option}-key {key}: a key is of a certificate; give {option}-cert, too", code="DN804"
        )
    if cert is None and ca is None:
        return None
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ValueError) as exc:
        raise UsageError(f"{option}-ca {ca}: {_why(exc, 'a certificate in PEM')}", code="DN804") from exc
    if cert is not None:
        try:
            context.load_cert_chain(str(cert), None if key is None else str(key), password=_no_password)
        except (OSError, ValueError) as exc:
            also = "" if key is None else f" with {option}-key {key}"
            why = _why(exc, "a certificate and its key in PEM, without a password")
            raise UsageError(f"{option}-cert {cert}{also}: {why}", code="DN804") from exc
    return context


def _no_password() -> str:
    """Give no password: OpenSSL would ask for it at the terminal, where a service has none."""
    return ""


def _text_of(file: Path, option: str) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST).decode("utf-8", "replace")
    except OSError as exc:
        raise UsageError(f"{option} {file}: {(exc.strerror or str(exc)).lower()}", code="DN804") from exc


def _why(exc: Exception, wanted: str) -> str:
    if isinstance(exc, ssl.SSLError) or not isinstance(exc, OSError):
        return f"{wanted} is wanted" + (
            f" ({exc.reason})" if isinstance(exc, ssl.SSLError) and exc.reason else ""
        )
    return (exc.strerror or str(exc)).lower()
