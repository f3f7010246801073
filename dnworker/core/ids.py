"""`new_id`: ids of events, invocations and whatever else has one."""

from __future__ import annotations

import os

IDS_AT_ONCE = 256
_ids: list[str] = []
os.register_at_fork(after_in_child=_ids.clear)  # or two processes would give out the same


def new_id() -> str:
    """Return a fresh 32-digit hexadecimal id; every event has one, so that many are made at once."""
    try:
        return _ids.pop()
    except IndexError:  # not `if`: another thread may take the last one
        digits = os.urandom(16 * IDS_AT_ONCE).hex()
        made, *others = [digits[at : at + 32] for at in range(0, len(digits), 32)]
        _ids.extend(others)
        return made
