"""`Found`: what an archive or a directory holds, as reading it says; verifying compares it with the list."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Found:
    """What an archive or a directory holds."""

    sums: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of each file by path, without the list."""
    listed: bytes | None = None
    """The list; None where there is none."""
    list_digest: str = ""
    paths: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    is_whole: bool = True
    """Whether all of it could be read, so that what was not found is missing."""
