"""`forget_tokens`: takes one server's sign-in out of the file of all; for `servers`."""

from __future__ import annotations

import json
import logging
import os

from dnworker.capability.environment import UnsetVariable, interpolate
from dnworker.core.files import home_directory, write_atomically

log = logging.getLogger("dnworker.mcp")


def forget_tokens(url: str) -> None:
    """Forget who has signed in at a URL; the other entries of the file stay."""
    path = home_directory() / ".dreadnode" / "mcp-auth.json"
    try:
        there = interpolate(url, os.environ, "url")
        store = json.loads(path.read_text())
        if isinstance(store, dict) and store.pop(there, None) is not None:
            write_atomically(path, json.dumps(store, indent=2), mode=0o600)
    except FileNotFoundError:
        return
    except (OSError, ValueError, UnsetVariable) as exc:
        log.warning("the sign-in at %s cannot be forgotten: %s", url, exc)
