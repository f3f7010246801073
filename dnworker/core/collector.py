"""The garbage collector is off while parts are imported; the command line, `serve` and `%load_ext` use this.

Imports make objects that stay. The collector looks through all of them again and again while they are made,
which takes a fifth of the processor time of a start, and finds next to nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off(*, freezes: bool = True) -> Iterator[None]:
    """Run the block without the collector; afterwards it is on again, if it was before.

    Args:
        freezes: whether it never visits what is there by then; a kernel has objects of its user among these.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freezes:
            gc.freeze()
        if was_on:
            gc.enable()
