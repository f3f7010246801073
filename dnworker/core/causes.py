"""`because`: says why workers are started and stopped in what follows; their lifecycle notes it.

Whoever asks for a change says so: the panel, a magic, a flag, a cell. What a handler asks for is told as its.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

from dnworker.core.invocation import Invocation, current_invocation

_because: contextvars.ContextVar[tuple[str, Invocation | None] | None] = contextvars.ContextVar(
    "dnworker_because", default=None
)
"""The reason, and the invocation in which it was given: what that invocation starts has it, too."""


@contextmanager
def because(reason: str) -> Iterator[None]:
    """Give a reason for the starts and stops of the body, such as `Restart by hand`."""
    token = _because.set((reason, current_invocation.get()))
    try:
        yield
    finally:
        _because.reset(token)


def cause() -> str | None:
    """Return why a worker is started or stopped here; None where nobody has said."""
    given, invocation = _because.get(), current_invocation.get()
    if given is not None and given[1] is invocation:
        return given[0]
    return None if invocation is None else f"{invocation.label} asked for it"
