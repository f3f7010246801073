"""`bytes_held`: estimates, within bounds, the memory that the frames of a kept exception hold."""

from __future__ import annotations

import sys
from collections import deque
from itertools import islice
from typing import Any

from dnworker.core.handler_error import BASE_TRACEBACK

OBJECTS_LOOKED_AT = 5_000
FRAMES_LOOKED_AT = 200
MEMBERS_LOOKED_AT = 500
"""Of one exception, of its traceback, and of one container."""

_SEQUENCES = (list, tuple, set, frozenset, deque)


def bytes_held(exc: BaseException) -> int:
    """Return about how many bytes the locals of an exception's frames take, as far as they were looked at.

    Only built-in containers are looked into: anything else may run code when it is.
    """
    waiting: list[Any] = []
    traceback = BASE_TRACEBACK.__get__(exc)
    for _ in range(FRAMES_LOOKED_AT):
        if traceback is None:
            break
        frame = traceback.tb_frame
        if frame.f_locals is not frame.f_globals:  # the names of the notebook are not held by this
            waiting += frame.f_locals.values()
        traceback = traceback.tb_next
    seen: set[int] = set()
    size = 0
    while waiting and len(seen) < OBJECTS_LOOKED_AT:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        size += _size_of(value)
        if type(value) is dict:
            waiting += [*islice(value.values(), MEMBERS_LOOKED_AT)]
        elif type(value) in _SEQUENCES:
            waiting += [*islice(value, MEMBERS_LOOKED_AT)]
    return size


def _size_of(value: Any) -> int:
    try:
        size = sys.getsizeof(value, 0)
    except Exception:  # somebody else's __sizeof__
        return 0
    return size if type(size) is int and size >= 0 else 0
