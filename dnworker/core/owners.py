"""`Owner`: whose code runs in a context, and who is told of what escapes from it; runners set it."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import msgspec

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.user_code import NOT_THEIRS, OURS


class Owner(msgspec.Struct, frozen=True, eq=False):
    """The worker that a context belongs to; what its code starts inherits the context, and so the owner."""

    worker: str
    """`capability:worker`."""
    escaped: Callable[[BaseException, str, Invocation | None], object]
    """Is told, on any thread, what was raised where no handler catches it, by what, in which invocation."""
    hint: Callable[[Invocation, str], object] = lambda invocation, text: None
    """Is told, on any thread, of a mistake of an invocation that has ended."""
    function_of: Callable[[Invocation], Any] = lambda invocation: None
    """Returns the handler of an invocation; None where it is not known any more."""
    is_importing: bool = False
    """Whether the module of the worker runs here, and what that has started: no invocation names it."""


current_owner: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("dnworker_owner", default=None)
"""The worker that runs here, be it its code or what runs that."""


_modules: dict[str, Owner] = {}
"""The owners of the modules of workers, by the name of the module."""


class Culprit(NamedTuple):
    """Whose code did something: a worker's, in an invocation, or by what its module started."""

    owner: Owner | None
    invocation: Invocation | None


def culprit_in(context: contextvars.Context) -> Culprit | None:
    """Return whose code a context is of; None where it is no worker's, but what keeps one running."""
    return _culprit(context.get(current_owner), context.get(current_invocation))


def current_culprit() -> Culprit | None:
    """Return whose code runs here."""
    return _culprit(current_owner.get(), current_invocation.get())


def _culprit(owner: Owner | None, invocation: Invocation | None) -> Culprit | None:
    if invocation is None and (owner is None or not owner.is_importing):
        return None
    return Culprit(owner, invocation)


def note_module(name: str) -> None:
    """Note that the module of this name is that of the worker which is imported here."""
    if (owner := current_owner.get()) is not None:
        _modules[name] = owner


def forget_module(name: str) -> None:
    """Note that the module of this name is gone, with its worker."""
    _modules.pop(name, None)


def culprit_by_module(traceback: TracebackType | None) -> Culprit | None:
    """Return whose code raised, by the modules of the frames: where no context tells, as in a finalizer.

    Where the context is one of the same worker, the invocation is the one that runs there.
    """
    found = None
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__")
        found = (_modules.get(name) if isinstance(name, str) else None) or found
        traceback = traceback.tb_next
    if found is None:
        return None
    here = current_culprit()
    is_same = here is not None and here.owner is not None and here.owner.worker == found.worker
    return here if is_same else Culprit(found, None)


def is_anothers(owner: Owner | None) -> bool:
    """Return whether the worker that runs here is another than that of `owner`."""
    here = current_owner.get()
    return here is not None and owner is not None and here.worker != owner.worker


def runs_users_code(caller: FrameType) -> bool:
    """Return whether code of a worker, and not the runtime on its behalf, runs here and is the caller."""
    return current_culprit() is not None and not is_ours(caller)


def is_ours(frame: FrameType) -> bool:
    """Return whether a frame runs code of dnworker."""
    module: Any = frame.f_globals.get("__name__")
    return isinstance(module, str) and module.partition(".")[0] in OURS


def ends_programs(exc: BaseException) -> bool:
    """Return whether an exception is one that asyncio lets out of the loop, and that ends a program."""
    return issubclass(type(exc), SystemExit | KeyboardInterrupt)


def has_users_code(traceback: TracebackType | None) -> bool:
    """Return whether a line of code that is neither ours nor of asyncio is in a traceback."""
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__")
        if not (isinstance(name, str) and name.partition(".")[0] in NOT_THEIRS):
            return True
        traceback = traceback.tb_next
    return False
