"""`truncate`: makes a payload that is too large for a subscriber fit (contract 7)."""

from __future__ import annotations

from typing import Any

from dnworker.core.envelope import MAX_PAYLOAD_BYTES

TEXT_CUT = 100_000
"""Characters of each text that are kept of an event too large for a subscriber."""


def truncate(payload: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return a payload that fits: long texts cut, and the marker of contract 7 beside them."""

    def cut(value: Any, room: int) -> Any:
        if isinstance(value, str):
            return value[:room]
        if isinstance(value, dict | list) and len(value) > room // 50:
            return None  # too many to keep any
        if isinstance(value, dict):
            return {key[:room]: cut(item, room // len(value)) for key, item in value.items()}
        if isinstance(value, list):
            return [cut(item, room // len(value)) for item in value]
        return value

    marker = {"dreadnode_truncated": True, "reason": reason, "cap_bytes": MAX_PAYLOAD_BYTES}
    kept: dict[str, Any] = cut(payload, TEXT_CUT)
    return kept | marker
