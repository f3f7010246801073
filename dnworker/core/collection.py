"""`collection_held`: no automatic garbage collection while something bounded is imported or computed."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_HOLDERS: dict[object, int] = {}
"""Who holds collection now, and in which thread."""


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
            _HOLDERS[holder] = threading.get_ident()  # before it is off: an interrupt in between leaves it on
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
        _HOLDERS.pop(holder, None)


def _forget_other_threads() -> None:
    """Let collection go on in a forked child that the blocks of other threads held: they do not end there."""
    global _LOCK
    _LOCK = threading.Lock()
    here = threading.get_ident()
    others = [holder for holder, thread in _HOLDERS.items() if thread != here]
    for holder in others:
        del _HOLDERS[holder]
    if others and not _HOLDERS:
        gc.enable()


os.register_at_fork(after_in_child=_forget_other_threads)
