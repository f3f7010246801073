"""`Listeners`: a list of callables that are told of the same thing; used by whatever can be listened to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Callables that are all called with the same arguments, in the order in which they were added.

    A listener may add or remove listeners while it is called: that counts from the next call on.
    """

    def __init__(self) -> None:
        self._listeners: tuple[Callable[P, object], ...] = ()

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Callable[P, object]) -> Callable[[], None]:
        """Call `listener` from now on; returns what ends that, which may be called again."""
        self._listeners = (*self._listeners, listener)
        return lambda: self._remove(listener)

    def notify(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call every listener; what one raises is the caller's."""
        for listener in self._listeners:
            listener(*args, **kwargs)

    def _remove(self, listener: Callable[P, object]) -> None:
        self._listeners = tuple(one for one in self._listeners if one is not listener)
