"""`NodeClient`: the client of nats-py, which nothing that comes or that a file has may stop."""

from __future__ import annotations

import itertools
import logging
import os
import stat
from typing import Any

import nats.errors
from nats.aio.client import Client

log = logging.getLogger("dnworker.broker")

LARGEST_FILE = 65_536
"""Bytes of a file of credentials; one has about a thousand."""


class NodeClient(Client):
    """A connection that reads on whatever the headers and subjects of messages are.

    What it signs in with may be away for a while, as where the file is written anew: it tries again then.

    Args:
        wants_tls: whether it signs in at no server without TLS: one that asks for none gets no password.
    """

    def __init__(self, *, wants_tls: bool = False) -> None:
        super().__init__()
        self._wants_tls = wants_tls

    def forget_unsent(self) -> None:
        """Send nothing later that a lost connection did not take: whoever waits for it is told otherwise."""
        self._pending = []
        self._pending_data_size = 0

    # -- what it signs in with -------------------------------------------------------------------------

    def _connect_command(self) -> bytes:
        if self._wants_tls:
            writer = getattr(self._transport, "_io_writer", None)
            if writer is None or writer.get_extra_info("ssl_object") is None:
                raise nats.errors.SecureConnWantedError
        try:
            if self._nkeys_seed is not None:
                read_file(self._nkeys_seed)  # the client would wait for a pipe, and read a device for ever
            return super()._connect_command()
        except Exception as exc:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
            if isinstance(exc, (nats.errors.Error, OSError)):
                raise
            # Its text may have what is secret.
            raise nats.errors.Error(
                f"nats: what is signed in with is damaged ({type(exc).__name__})"
            ) from None

    def _read_creds_user_jwt(self, creds: Any) -> bytearray:
        return _block(creds, b"NATS USER JWT")

    def _read_creds_user_nkey(self, creds: Any) -> bytearray:
        return _block(creds, b"USER NKEY SEED")

    # -- what comes ------------------------------------------------------------------------------------

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except Exception as exc:  # the client would read nothing more
            log.debug("headers of a message cannot be read: %s", exc)
            return {}

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Any:
        try:
            return super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            subject, reply = (text.decode("utf-8", "replace").encode() for text in (subject, reply))
            return super()._build_message(sid, subject, reply, data, headers)


def read_file(name: Any) -> bytes:
    """Return what is in a file of credentials.

    Raises:
        OSError: it is not there, or it is no file.
        Error: it is too long.
    """
    opened = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError(f"{name} is no file")
        found = file.read(LARGEST_FILE + 1)
    if len(found) > LARGEST_FILE:
        raise nats.errors.Error(f"nats: {name} is longer than a file of credentials is")
    return found


def _block(name: Any, title: bytes) -> bytearray:
    """Return the line behind a title of a file of credentials."""
    lines = read_file(name).splitlines()
    for line, following in itertools.pairwise(lines):
        if b"BEGIN " + title in line and following.strip():
            return bytearray(following.strip())
    raise nats.errors.Error(f"nats: {name} has no {title.decode()} now")
