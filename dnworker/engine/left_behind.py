"""Names what still runs in a runtime that stops: handlers, tasks, threads, processes; `serve` prints it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.locations import location_of
from dnworker.engine.watchdog import Block, explain, explain_frames, frames_of_task, running_invocation
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine


def left_behind(
    engine: Engine | None, loop: asyncio.AbstractEventLoop | None, generators: Iterable[Any] = ()
) -> list[str]:
    """Return a line for each thing that still runs; may be called on any thread, whatever the loop does.

    Args:
        engine: whose workers it belongs to; None before there is one.
        loop: whose tasks are looked at; None when it has ended.
        generators: asynchronous generators that should be closed.
    """
    frames = sys._current_frames()
    main = threading.main_thread()
    named = [] if loop is None else [_describe_task(engine, task) for task in asyncio.all_tasks(loop)]
    found = [line for line in named if line is not None]
    for generator in generators:
        if (frame := generator.ag_frame) is not None and (block := explain_frames([frame])).is_known:
            found.append(f"a generator of {who(engine, block)} is at {place(block)}")
    if (frame := frames.get(main.ident or 0)) is not None:
        found += _describe_main(engine, frame, loop)
    for thread in threading.enumerate():
        if thread is main or thread.daemon or thread.ident is None:
            continue
        frame = frames.get(thread.ident)
        if frame is not None and not _is_idle(frame):
            found.append(_describe_thread(engine, thread, frame))
    if engine is not None:
        found += _describe_processes(engine)
    return list(dict.fromkeys(found))


def _describe_main(
    engine: Engine | None, frame: FrameType, loop: asyncio.AbstractEventLoop | None
) -> list[str]:
    """Name the code that keeps the loop from turning, or the interpreter from ending."""
    block = explain(frame, loop)
    if not block.is_known and block.invocation is None:
        return []
    return [f"{who(engine, block)} holds the event loop at {place(block)}"]


def _describe_task(engine: Engine | None, task: asyncio.Task[Any]) -> str | None:
    """Name a task of a handler, or one that user's code started; None for what is ours."""
    frames = list(frames_of_task(task))
    block = explain_frames(reversed(frames))
    block.invocation = _invocation_of(task, frames)
    if not block.is_known:
        return None
    what = "" if block.invocation is not None else f"task {task.get_name()} of "
    return f"{what}{who(engine, block)} is at {place(block)}"


def _invocation_of(task: asyncio.Task[Any], frames: list[FrameType]) -> Invocation | None:
    for frame in frames:
        if (found := running_invocation(frame)) is not None:
            return found
    get_context = getattr(task, "get_context", None)  # Python 3.12
    return get_context().get(current_invocation) if get_context is not None else None


def _describe_thread(engine: Engine | None, thread: threading.Thread, frame: FrameType) -> str:
    block = explain(frame, None)
    work = _work_of(frame)
    block.invocation = _context_of(work)
    where = place(block)
    if not block.is_known and work is not None:
        where = f"{_name_of(work)}, which was called at an unknown place"
        if engine is not None and block.invocation is not None:
            where = f"{_name_of(work)}, called for the handler at {_handler_place(engine, block.invocation)}"
    return f"thread {thread.name} of {who(engine, block)} is at {where}"


def _work_of(frame: FrameType | None) -> Any:
    """Return what the thread of a pool was given to run; None for any other thread."""
    while frame is not None:
        if frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "concurrent.futures.thread":
            return getattr(frame.f_locals.get("self"), "fn", None)
        frame = frame.f_back
    return None


def _context_of(work: object) -> Invocation | None:
    """Return the invocation that handed work to a thread by `asyncio.to_thread`, if one did."""
    context = getattr(getattr(work, "func", None), "__self__", None)
    return context.get(current_invocation) if isinstance(context, contextvars.Context) else None


def _name_of(work: Any) -> str:
    while isinstance(work, functools.partial):
        is_run = isinstance(getattr(work.func, "__self__", None), contextvars.Context)
        work = work.args[0] if is_run and work.args else work.func
    module = getattr(work, "__module__", None)
    name = getattr(work, "__qualname__", None) or type(work).__name__
    return f"{module}.{name}" if module else str(name)


def _handler_place(engine: Engine, invocation: Invocation) -> str:
    for worker in engine.workers():
        registry = getattr(worker, "worker", None)
        if worker.qualified_name != invocation.worker or registry is None:
            continue
        for handler in handlers_of(registry):
            code = getattr(inspect.unwrap(handler.function), "__code__", None)
            if handler.key == invocation.key and code is not None:
                return location_of(code.co_filename, code.co_firstlineno)
    return "an unknown place"


def _is_idle(frame: FrameType) -> bool:
    """Whether a thread of a pool waits for work: it ends by itself."""
    return (
        frame.f_code.co_name == "_worker" and frame.f_globals.get("__name__") == "concurrent.futures.thread"
    )


def _describe_processes(engine: Engine) -> Iterator[str]:
    for worker in engine.workers():
        if worker.topology != "subprocess" or worker.state is not WorkerState.STOPPING:
            continue
        process = worker.detail().get("process") or {}
        yield f"the process of {worker.qualified_name} ({process.get('pid')}, {worker.definition.command})"


def who(engine: Engine | None, block: Block) -> str:
    """Return the handler, else the worker whose file it is, else `code`."""
    if block.invocation is not None:
        return f"{block.invocation.label} ({block.invocation.cause})"
    return (engine and owner_of(engine, block.file)) or "code"


def owner_of(engine: Engine, file: str) -> str | None:
    """Return the worker that a file belongs to, or the capability that it lies in; None for any other."""
    path = Path(file)
    for worker in engine.workers():
        if worker.definition.path == path:
            return worker.qualified_name
    roots = {c.root: c.name for c in engine.capabilities.all() if not c.live}
    return next((name for root, name in roots.items() if path.is_relative_to(root)), None)


def place(block: Block) -> str:
    """Return the line that holds a thread, with its text where that is known."""
    return f"{block.location}: {block.source}" if block.source else block.location
