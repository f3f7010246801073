"""Values that are larger than a broker takes, in parts; for pages of messages, which `keeper.py` writes.

The parts are written first, then their list under the key: what is read is whole, or is not there.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from dnworker.events.brokers.base import Broker

LARGEST = 500_000
"""Bytes of a value that is written as one."""

PARTS = "sessions.parts/"
"""How the keys of parts begin."""

_BEGINNING = b'{"parts":'


class _List(msgspec.Struct, frozen=True):
    """What is under the key of a value in parts."""

    parts: list[str]


async def put(broker: Broker, key: str, value: bytes) -> None:
    """Write a value, however large; raises as `Broker.put`."""
    if len(value) <= LARGEST:
        await broker.put(key, value)
        return
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass") + b"\0" + value).hexdigest()
    keys = []
    for number, at in enumerate(range(0, len(value), LARGEST)):
        keys.append(f"{PARTS}{name}/{number:06d}")
        await broker.put(keys[-1], value[at : at + LARGEST])
    await broker.put(key, msgspec.json.encode(_List(keys)))


async def whole(broker: Broker, value: bytes) -> bytes:
    """Return the value that was written; one of which a part is missing ends early, and cannot be decoded."""
    if not value.startswith(_BEGINNING):
        return value
    found = [await broker.get(key) for key in msgspec.json.decode(value, type=_List).parts]
    return b"".join(entry.value for entry in found if entry is not None)


async def delete(broker: Broker, key: str) -> None:
    """Remove a value with its parts."""
    entry = await broker.get(key)
    await broker.delete(key)
    if entry is not None and entry.value.startswith(_BEGINNING):
        for part in msgspec.json.decode(entry.value, type=_List).parts:
            await broker.delete(part)
