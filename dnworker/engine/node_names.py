"""What nodes of a cluster and their labels may be called; for `placement.py`, `nodes.py` and the commands."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Collection

LONGEST = 100
"""Characters that the name of a node, or a label, may have."""

LABELS = 32
"""Labels that a node may have, or a worker may require."""


def default_node() -> str:
    """Return a name for this node: that of the machine, and four hexadecimal digits."""
    machine = "".join(one if one.isascii() and one.isalnum() else "-" for one in socket.gethostname())
    return f"{machine[:60].strip('-') or 'node'}-{secrets.token_hex(2)}"


def check_name(name: str, what: str = "label") -> str:
    """Return the name of a node, or a label.

    Raises:
        ValueError: it is empty, too long, or has other characters than letters, digits and `-_.`.
    """
    is_text = isinstance(name, str) and 0 < len(name) <= LONGEST
    if not is_text or not all(one.isascii() and (one.isalnum() or one in "-_.") for one in name):
        shown = f"{name[:40]}..." if isinstance(name, str) and len(name) > LONGEST else name
        raise ValueError(f"{what} is {shown!r}; letters, digits and -_. are wanted, {LONGEST} at most")
    return name


def check_labels(labels: Collection[str], what: str = "labels") -> list[str]:
    """Return labels in their order, each once.

    Raises:
        ValueError: one of them is none, there are too many, or they are one text.
    """
    if isinstance(labels, str):
        raise ValueError(f"{what} is {labels!r}; a list is wanted: [{labels!r}]")
    found = sorted({check_name(label, f"a label of {what}") for label in labels})
    if len(found) > LABELS:
        raise ValueError(f"{what} has {len(found)} labels; {LABELS} are taken at most")
    return found
