"""How much errors tell, by what the user of a notebook chose (`%xmode`); `handler_error.py` asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

Detail = Literal["minimal", "normal", "verbose"]
"""`minimal`: type, message and place. `verbose`: also the values of variables."""

_asked: list[Callable[[], Detail]] = []


def add_detail(ask: Callable[[], Detail]) -> Callable[[], None]:
    """Go by what `ask` returns from now on; returns the function that ends it."""
    _asked.append(ask)

    def remove() -> None:
        if ask in _asked:
            _asked.remove(ask)

    return remove


def detail() -> Detail:
    """Return how much to tell now; never raises."""
    if not _asked:
        return "normal"
    try:
        said = _asked[-1]()
    except Exception:  # a shell that somebody has changed: an error must be shown whatever that does
        return "normal"
    return said if said in get_args(Detail) else "normal"
