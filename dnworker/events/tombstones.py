"""`Tombstones`: remembers which sessions were deleted, in a few bytes each (contract 5.5); the bus asks."""

from __future__ import annotations

import hashlib
import os
from array import array
from bisect import bisect_left

REMEMBERED = 500_000
"""Ids after which a generation is full; the one before it is forgotten then."""


class Tombstones:
    """A set of texts that keeps eight bytes of each, whatever their length.

    One in 10^19 pairs of texts looks alike to it, and nobody can make one: the digest has a secret key.
    The oldest half is forgotten when a million are kept, eight megabytes.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._key = os.urandom(16)
        self._remembered = remembered
        self._newer = array("Q")  # both sorted
        self._older = array("Q")

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def __contains__(self, text: str) -> bool:
        digest = self._digest(text)
        return any(_find(kept, digest) is not None for kept in (self._newer, self._older))

    def add(self, text: str) -> None:
        """Remember a text."""
        digest = self._digest(text)
        if _find(self._newer, digest) is not None:
            return
        if len(self._newer) >= self._remembered:
            self._newer, self._older = array("Q"), self._newer
        self._newer.insert(bisect_left(self._newer, digest), digest)

    def discard(self, text: str) -> None:
        """Forget a text, if it is remembered."""
        digest = self._digest(text)
        for kept in (self._newer, self._older):
            if (place := _find(kept, digest)) is not None:
                del kept[place]

    def _digest(self, text: str) -> int:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key)
        return int.from_bytes(digest.digest())


def _find(kept: array[int], digest: int) -> int | None:
    place = bisect_left(kept, digest)
    return place if place < len(kept) and kept[place] == digest else None
