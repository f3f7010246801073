"""Keeps uploaded files: each is written beside its place and moved there whole, and a name is taken once."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from dnworker.core.errors import Conflict, TooLarge

FILE_LIMIT = 25 * 1024 * 1024
BATCH_BYTES = 200 * 1024 * 1024
BATCH_FILES = 500
PART = ".upload-"
"""What the name of a file begins with that is not complete."""

_under_way: set[Path] = set()
_placing = threading.Lock()


class Upload(msgspec.Struct, frozen=True):
    """One file on its way: into which batch, under which name, and where it is until it is complete."""

    batch: Path
    file: Path
    part: Path


@contextmanager
def uploading(batch: Path, parts: list[str]) -> Iterator[Upload]:
    """Take a name for one upload; what is not complete in the end is removed.

    Raises:
        Conflict: another upload of this name is under way.
    """
    name = batch.joinpath(*parts)
    one = Upload(batch, name, batch / f"{PART}{secrets.token_hex(8)}")
    key = name.absolute()
    if key in _under_way:
        raise Conflict(f"{'/'.join(parts)} is being uploaded already", code="DN911")
    _under_way.add(key)
    try:
        yield one
    finally:
        _under_way.discard(key)
        with suppress(FileNotFoundError):
            one.part.unlink()


def room(one: Upload) -> int:
    """Return how many bytes the file may have, and make its batch.

    Raises:
        Conflict: the batch has a file of this name.
        TooLarge: the batch is full.
    """
    if os.path.lexists(one.file):
        raise Conflict(f"{one.file.relative_to(one.batch)} is in this batch already", code="DN911")
    one.batch.mkdir(parents=True, exist_ok=True)
    return _room_left(one)


def _room_left(one: Upload) -> int:
    sizes = [p.stat().st_size for p in one.batch.rglob("*") if p.is_file() and not p.name.startswith(PART)]
    if len(sizes) >= BATCH_FILES:
        raise TooLarge(f"a batch holds at most {BATCH_FILES} files", code="DN911")
    return min(FILE_LIMIT, BATCH_BYTES - sum(sizes))


async def receive(receive: Receive, part: Path, room: int) -> None:
    """Write a request's body to a file as it comes.

    Raises:
        TooLarge: it is over `room`; reading stops there.
        ClientDisconnect: the client has gone before its end.
    """
    size = 0
    with await asyncio.to_thread(part.open, "xb") as stream:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body = message.get("body", b"")
            size += len(body)
            if size > room:
                raise TooLarge(f"the file is over {room:,} bytes", code="DN911")
            if body:
                await asyncio.to_thread(stream.write, body)
            if not message.get("more_body", False):
                return


def place(one: Upload) -> int:
    """Move a complete file to its place, one at a time; returns its size.

    Raises:
        Conflict: there is one by now.
        TooLarge: the batch has become full.
    """
    size = one.part.stat().st_size
    with _placing:
        if size > _room_left(one):
            raise TooLarge(f"a batch holds at most {BATCH_BYTES:,} bytes", code="DN911")
        one.file.parent.mkdir(parents=True, exist_ok=True)
        try:  # takes the name, in other processes too
            os.close(os.open(one.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            raise Conflict(
                f"{one.file.relative_to(one.batch)} is in this batch already", code="DN911"
            ) from None
        one.part.replace(one.file)
    return size
