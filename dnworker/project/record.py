"""The record of what an export or `init` wrote, by which later edits by hand are noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.project.readme import README

RECORD = ".dnworker-export.json"
"""Its name in the directory of the capability."""

WORKERS = f"{MANIFEST_NAME}#workers"
BLOCK = f"{README}#map"
"""The keys of the manifest's workers and of the README's written part: other text of these files is kept."""


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def make_record(files: Mapping[str, bytes], workers: bytes, block: bytes | None) -> bytes:
    """Return the record.

    Args:
        files: what was written, by path.
        workers: the workers' part of the manifest.
        block: the written part of the README; None where no README was written.
    """
    record = {name: digest(data) for name, data in files.items()} | {WORKERS: digest(workers)}
    if block is not None:
        record[BLOCK] = digest(block)
    return (json.dumps(record, indent=1) + "\n").encode()
