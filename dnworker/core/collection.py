"""`collection_held`: no automatic garbage collection while something bounded is imported or computed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_HOLDERS: set[object] = set()
"""Who holds collection now, over all threads."""


@contextmanager
def collection_held(*, stays: bool = False) -> Iterator[None]:
    """Hold automatic collection of cycles within the block, in all threads, and go on as it was found.

    Python collects by the number of objects that are made. The trees of a large notebook are hundreds of
    thousands, which stay: each collection visits those before again and frees none of them, which takes
    half the time of the first plan of 300 cells, and a fifth of a start. What is held must end by itself and
    make few cycles: these wait until afterwards.

    At the end, what was made is moved to the oldest generation unvisited, as mypy does: the next collection
    of the young would visit it all at once otherwise, in the middle of somebody's cell. This is left out
    where the program has frozen objects itself, which would be thawed with them.

    Blocks may lie within each other and run in several threads; the last one to end lets collection go on,
    unless it was off before the first. Who turns it on meanwhile has it on; who turns it off has it on again.

    Args:
        stays: whether what is there by the end is never visited: in a process of our own, at its start.
    """
    holder = object()
    try:
        _hold(holder)
        yield
    finally:
        _let_go(holder, stays=stays)


def _hold(holder: object) -> None:
    with _LOCK:
        if _HOLDERS or gc.isenabled():
            _HOLDERS.add(holder)  # before it is off: an interrupt in between leaves it on
            gc.disable()


def _let_go(holder: object, *, stays: bool) -> None:
    with _LOCK:
        if stays:
            gc.freeze()
        was_held = holder in _HOLDERS
        if was_held and len(_HOLDERS) == 1 and not gc.isenabled():
            if gc.get_freeze_count() == 0:
                gc.freeze()
                gc.unfreeze()
            gc.enable()
        _HOLDERS.discard(holder)
