"""The garbage collector is off while parts are imported; the command line and `serve` use this.

Imports make objects that stay. The collector looks through all of them again and again while they are made,
which takes a fifth of the processor time of a start, and finds next to nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """Run the block without the collector; afterwards it is on, and does not visit what is there by then."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
