"""`Tls`: the certificate and the key of a server; `embedded` gives it to its listeners."""

from __future__ import annotations

import logging
import os
import ssl
import stat
from pathlib import Path

from dnworker.core.errors import UsageError
from dnworker.server.listening import TlsFiles

log = logging.getLogger("dnworker.server")

LARGEST = 1_000_000
"""Bytes of a file with certificates or a key."""

_CERTIFICATE, _KEY = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"
_CODE = "DN926"


class Tls:
    """TLS of a server: version 1.2 and later.

    Attributes:
        context: what the next connections use.

    Raises:
        UsageError: a file cannot be read, is no PEM, does not fit the others, or others may read the key.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self.context = make_context(files)

    def reload(self) -> bool:
        """Read the files again; with wrong ones all stays as it was, which the log says in one line.

        Returns:
            Whether the next connections use what is in the files now.
        """
        try:
            self.context = make_context(self._files)
        except UsageError as exc:
            log.warning("%s; the certificate stays what it was", exc)
            return False
        return True


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """Return what a server needs for its connections; a certificate that is not valid now is logged.

    Raises:
        UsageError: as of `Tls`.
    """
    chain = _read(files.cert, "--tls-cert", _CERTIFICATE, "a certificate")
    _read(files.key, "--tls-key", _KEY, "a private key")
    if (exposed := key_exposure(files.key)) is not None:
        raise UsageError(exposed, code=_CODE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load_chain(context, files)
    if (problem := _try(context, chain)) is not None:
        log.warning("--tls-cert %s: clients will refuse it: %s", files.cert, problem)
    if files.client_ca is not None:
        _read(files.client_ca, "--tls-client-ca", _CERTIFICATE, "a certificate")
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.client_ca)
        except (OSError, ssl.SSLError) as exc:
            raise UsageError(f"--tls-client-ca {files.client_ca}: {_said(exc)}", code=_CODE) from exc
    return context


def _load_chain(context: ssl.SSLContext, files: TlsFiles) -> None:
    is_encrypted = False

    def no_password() -> str:
        nonlocal is_encrypted
        is_encrypted = True
        return ""

    try:
        # With a function: without one, OpenSSL asks for the password on the terminal.
        context.load_cert_chain(files.cert, files.key, password=no_password)
    except (OSError, ssl.SSLError) as exc:
        if is_encrypted:
            raise UsageError(
                f"--tls-key {files.key} has a password; write it without one, for this user alone: "
                f"openssl pkey -in {files.key} -out NEW.key",
                code=_CODE,
            ) from exc
        if isinstance(exc, ssl.SSLError) and exc.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(
                f"--tls-key {files.key} is not the key of {files.cert}; give those that were made together",
                code=_CODE,
            ) from exc
        raise UsageError(f"--tls-cert {files.cert} with {files.key}: {_said(exc)}", code=_CODE) from exc


def _read(file: Path, option: str, mark: bytes, what: str) -> bytes:
    """Return what is in a file of PEM.

    Raises:
        UsageError: it is no regular file, cannot be read, is too large, or has no such part.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # first: a pipe may never end
            raise UsageError(f"{option} {file} is no regular file; name one that is PEM", code=_CODE)
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            text = stream.read(LARGEST + 1)
    except OSError as exc:
        raise UsageError(f"{option} {file} cannot be read: {exc.strerror or exc}", code=_CODE) from exc
    if len(text) > LARGEST or mark not in text:
        raise UsageError(
            f"{option} {file} has no {what.removeprefix('a ')} in PEM; it begins with -----BEGIN", code=_CODE
        )
    return text


def key_exposure(file: Path) -> str | None:
    """Return what to say of a key that others may read or change; None of one that is private.

    That of root may be readable by its group, as PostgreSQL has it: distributions give keys so to services.
    """
    status = file.stat()
    mode = stat.S_IMODE(status.st_mode)
    allowed = 0o640 if status.st_uid == 0 else 0o600
    if not mode & 0o077 & ~allowed:
        return None
    return f"--tls-key {file} is open to others (mode {mode:04o}): `chmod 600 {file}` closes it"


def _try(context: ssl.SSLContext, chain: bytes) -> str | None:
    """Shake hands in memory; return why a client that knows the first certificate refuses it, if it does."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    first = chain[chain.index(_CERTIFICATE) :].partition(b"-----END CERTIFICATE-----")
    try:
        client.load_verify_locations(cadata=(first[0] + first[1] + b"\n").decode("ascii", "replace"))
        _shake_hands(client, context)
    except ssl.SSLCertVerificationError as exc:
        return exc.verify_message
    except ssl.SSLError as exc:
        return _said(exc)
    return None


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(10):  # each turn brings them one flight on; there are four
        waiting = []
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(end)
        if not waiting:
            return
        ends = waiting
    raise ssl.SSLError("the handshake does not end")


def _said(exc: OSError) -> str:
    """Return what OpenSSL or the system says, without its own place."""
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return exc.reason.replace("_", " ").lower()
    return exc.strerror or str(exc)
