"""Pickles and unpickles what is somebody else's, within bounds of bytes and time; used by `state_snapshots`.

Both run code of the values, such as `__reduce__` and `__setstate__`. It runs on a thread of its own while the
caller waits, so that nothing else changes the values meanwhile and one that never returns can be left behind.
"""

from __future__ import annotations

import contextvars
import ctypes
import pickle
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from dnworker.core.handler_error import message_of, type_name
from dnworker.core.text import clip

T = TypeVar("T")

LONGEST_REASON = 200
"""Characters of why something could not be pickled."""


PLAIN_MOST = 1_000
"""Values that are looked at, to see whether all are plain."""

_LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes})


class NotPickled(Exception):
    """A value could not be pickled or unpickled; the text says why."""


class _Ended(BaseException):
    """Ends code that was left behind."""


def within(seconds: float, function: Callable[[], T]) -> T:
    """Run a function of somebody else's to its end, on another thread, and return what it returns.

    It has a copy of the caller's context. What is left behind is ended in its next line of Python.

    Raises:
        NotPickled: it raised, whatever that was, or did not return in time.
    """
    results: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as exc:
            raised.append(exc)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="dnworker pickling", daemon=True)
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    if thread.is_alive() and not raised:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Ended)
        )
        raise NotPickled(f"it did not return within {seconds:g} s")
    exc = raised.pop() if raised else RuntimeError("it ended without a result")
    if isinstance(exc, NotPickled):
        raise exc
    text = message_of(exc)
    raise NotPickled(clip(f"{type_name(exc)}: {text}" if text else type_name(exc), LONGEST_REASON))


def is_plain(value: object) -> bool:
    """Return whether pickling a value runs no code of others: it is small, and of built-in types alone."""
    waiting, left = [value], PLAIN_MOST
    while waiting:
        one = waiting.pop()
        kind, left = type(one), left - 1
        if kind is dict:
            waiting += [*one, *one.values()]  # type: ignore[misc, attr-defined]
        elif kind is list or kind is tuple or kind is set or kind is frozenset:
            waiting += one  # type: ignore[arg-type]
        elif kind not in _LEAVES:
            return False
        if len(waiting) > left:
            return False
    return True


class _Bounded:
    """A file that takes so many bytes."""

    def __init__(self, limit: int) -> None:
        self.parts: list[bytes] = []
        self._left = limit
        self._limit = limit

    def write(self, data: Any) -> int:
        part = bytes(data) if len(data) <= self._left else b""
        self._left -= len(data)
        if self._left < 0:
            raise NotPickled(f"it is larger than {self._limit:,} bytes")
        self.parts.append(part)
        return len(part)


def dumps(value: object, limit: int) -> bytes:
    """Return a value as a pickle of at most `limit` bytes; classes and functions of cells are in it.

    Call it by `within`, unless the value `is_plain`.

    Raises:
        NotPickled: it has more bytes.
        BaseException: what code of the value raises.
    """
    import cloudpickle

    file = _Bounded(limit)
    cloudpickle.Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return b"".join(file.parts)


def loads(data: bytes, seconds: float) -> Any:
    """Return the value of a pickle that this process has made.

    Raises:
        NotPickled: code of the value raised, or did not return within `seconds`.
    """
    return within(seconds, lambda: pickle.loads(data))  # noqa: S301  our own
