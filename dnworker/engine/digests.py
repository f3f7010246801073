"""Digests of capabilities, by which nodes know whether they have the same code; `capabilities` reads them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from dnworker.capability.reading import LONGEST_MODULE, read_bytes
from dnworker.engine.capability import Capability
from dnworker.engine.versions import Loaded
from dnworker.engine.watched_files import files_read
from dnworker.events.brokers.base import Broker

FILES_MOST, BYTES_MOST = 5_000, 64_000_000
"""Files of a capability, and bytes of them, that are read for its digest; of others the size counts."""


def loaded_of(listed: Mapping[str, Capability]) -> dict[str, Loaded]:
    """Return the versions of what is loaded from disk, where other nodes may have others."""
    found = ((name, one.manifest.version, one.digest) for name, one in listed.items())
    return {name: Loaded(version, digest) for name, version, digest in found if digest is not None}


async def identify(capability: Capability, broker: Broker) -> Capability:
    """Read the digest of a capability from disk where nodes share the broker; returns the capability."""
    is_read = capability.failure is None and not capability.live
    if broker.capabilities.is_shared and is_read and capability.digest is None:
        capability.digest = await asyncio.to_thread(digest_of, capability)
    return capability


def digest_of(capability: Capability) -> str:
    """Return a digest of the files that run of a capability; it reads them, so a thread is to do it."""
    made, left = hashlib.sha256(), BYTES_MOST
    for number, file in enumerate(sorted(_files(capability))):
        data = b"" if number >= FILES_MOST else _content(capability.root / file, left)
        left -= len(data)
        name = str(file).encode("utf-8", "surrogateescape")
        made.update(b"%d %d\0%s\0" % (len(name), len(data), name))
        made.update(data)
    return made.hexdigest()[:32]


def _files(capability: Capability) -> Collection[Path]:
    root = capability.root
    found = files_read(capability, root, every_file=False)
    return [file.relative_to(root) for file in found if file.is_relative_to(root) and file.is_file()]


def _content(file: Path, left: int) -> bytes:
    """Return what stands for the content of a file in a digest."""
    try:
        size = file.stat().st_size
        return read_bytes(file, LONGEST_MODULE) if size <= min(LONGEST_MODULE, left) else b"%d" % size
    except OSError as exc:  # it is missing in one of two nodes, or may not be read there: they differ
        return f"{exc.errno}".encode()
