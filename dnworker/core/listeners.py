"""`Listeners`: callables that are called in turn when something happens; used by whatever notifies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Callables that are all called with the same arguments, in the order in which they were added.

    A listener may add or remove listeners while it is called: that counts from the next call on.
    """

    def __init__(self) -> None:
        self.all: tuple[Callable[P, object], ...] = ()
        """The listeners; a loop over them costs half of what `notify` does, where every event pays it."""

    def __len__(self) -> int:
        return len(self.all)

    def add(self, listener: Callable[P, object]) -> Callable[[], None]:
        """Call `listener` from now on; returns the function that ends it, which may be called twice."""
        self.all = (*self.all, listener)
        is_added = True

        def end() -> None:
            nonlocal is_added
            if is_added:
                is_added = False
                self._remove(listener)

        return end

    def notify(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call every listener; an exception of one passes to the caller."""
        for listener in self.all:
            listener(*args, **kwargs)

    def _remove(self, listener: Callable[P, object]) -> None:
        """Remove one entry of a listener, which may have been added several times."""
        listeners = list(self.all)
        listeners.remove(listener)
        self.all = tuple(listeners)
