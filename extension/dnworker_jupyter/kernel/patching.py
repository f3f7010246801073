"""`replace`: sets an attribute of somebody else's class and returns what restores it; used by `kernel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Set `owner.name` to `make(what it was)`; returns what puts it back, unless somebody replaced it since.

    An attribute that the owner only inherits is taken away again.
    """
    inherited = name not in vars(owner)
    original = getattr(owner, name)
    replacement = make(original)
    setattr(owner, name, replacement)

    def undo() -> None:
        if vars(owner).get(name) is replacement:
            if inherited:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

    return undo
