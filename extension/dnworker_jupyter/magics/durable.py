"""`%runtime durable`: keeps events in a file, or in memory again; workers start anew for it."""

from __future__ import annotations

import os
from pathlib import Path

from dnworker.core.errors import BrokerError, UsageError
from dnworker.core.files import working_directory
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.placement import Place
from dnworker.events.brokers.base import Broker
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.flow.words import counted
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.attached import check_not_attached
from dnworker_jupyter.magics.context import MagicContext


async def make_durable(context: MagicContext, mode: str | None) -> Note:
    """Have events kept in a file until workers have handled them, or no longer; workers start again.

    Raises:
        UsageError: what is given is no file, or there is none to keep them in.
        BrokerError: the file cannot be used; the runtime goes on as it was.
    """
    file = _file_of(context, mode)
    check_not_attached(context, "%runtime durable", "whose events would be handled again after a restart")
    before = context.runtime.bus.broker
    if before.capabilities.is_shared:
        raise UsageError(
            "%runtime durable: this notebook shares its events with other nodes; first: %runtime leave",
            code="DN709",
        )
    kept = None if before.journal is None else before.journal.path
    try:
        await context.transactions.ready()
    except BrokerError:
        if _is_same(file, kept):
            raise  # any other is the way out
    if _is_same(file, kept):
        return Note(f"nothing changes: {before.failure or f'{_where(file)} already'}")
    left = await _left_in(context, kept)
    await use_broker(context, MemoryBroker() if file is None else await tried(context, _broker_in(file)))
    if file is None:
        return Note(f"{_where(file)} again, and are lost when the kernel ends{left}")
    return Note(
        f"{_where(file)} until workers have handled them; what they had not when the kernel ends, they get "
        f"when `%runtime durable {_quoted(file)}` runs again{left}"
    )


def _broker_in(file: Path) -> Broker:
    from dnworker.events.brokers.sqlite.broker import SqliteBroker

    return SqliteBroker(file)


async def stop_workers(context: MagicContext) -> list[str]:
    """Stop the runtime; return which workers ran or stood by, which start with it again."""
    up = (WorkerState.RUNNING, WorkerState.STARTING, WorkerState.STANDBY)
    running = [worker.qualified_name for worker in context.runtime.workers() if worker.state in up]
    if await context.mcp.stop():
        print("agents do not reach this notebook any more: %runtime mcp")  # noqa: T201  the cell's output
    try:
        await context.runtime.stop()
    finally:  # also where that was interrupted: the next magic must start it
        context.startup.note_stopped(running)
    return running


def _file_of(context: MagicContext, mode: str | None) -> Path | None:
    """Return the file that a mode names; None for memory.

    Raises:
        UsageError: it names none, or the notebook has no journal to take.
    """
    if mode == "off":
        return None
    if mode in (None, "on"):
        if context.startup.journal is None:
            raise UsageError(
                "this notebook has no journal; name a file: %runtime durable events.db", code="DN705"
            )
        return context.startup.journal
    if not any(mark in mode for mark in {".", "/", os.sep}):
        raise UsageError(
            f"%runtime durable {mode}: on, off or a file is wanted; a file of this name is ./{mode}",
            code="DN709",
        )
    return working_directory() / Path(mode).expanduser()


def _is_same(file: Path | None, other: Path | None) -> bool:
    if file is None or other is None:
        return file is other
    return os.path.realpath(file) == os.path.realpath(other)


def _where(file: Path | None) -> str:
    return "events are kept in memory" if file is None else f"events are kept in {file}"


def _quoted(file: Path) -> str:
    return f'"{file}"' if " " in str(file) else str(file)


async def _left_in(context: MagicContext, kept: Path | None) -> str:
    """Return what is said of that which a file has, and which is not taken along."""
    if kept is None:
        return ""
    runtime = context.runtime
    letters, sessions = len(runtime.dead_letters), len(runtime.sessions.list())
    stay = []
    try:
        waiting = sum(one.pending for one in await runtime.bus.broker.cursors())
    except BrokerError as exc:  # leaving it is the way out
        stay.append(f"events, which cannot be counted ({exc})")
        waiting = 0
    stay += [
        *([counted(waiting, "event that waits", "events that wait")] if waiting else ()),
        *([counted(letters, "dead letter")] if letters else ()),
        *([counted(sessions, "session")] if sessions else ()),
    ]
    if not stay:
        return ""
    return f"; left in {kept} until `%runtime durable {_quoted(kept)}` runs again: {', '.join(stay)}"


async def tried(context: MagicContext, broker: Broker) -> Broker:
    """Open a broker and close it again, before workers are stopped for it; return it.

    Raises:
        BrokerError: it cannot be used.
    """
    runtime = context.runtime
    broker.attach(runtime.bus, runtime.clock)
    await broker.open(runtime.runtime_id)
    await broker.close()
    return broker


async def use_broker(context: MagicContext, broker: Broker, place: Place | None = None) -> None:
    """Start the runtime with another broker, as a node of a name; where that fails, with the one it had."""
    runtime, startup = context.runtime, context.startup
    before, was, was_started = runtime.bus.broker, runtime.holdings.place, runtime.is_started
    running = await stop_workers(context) if was_started else []
    runtime.use_broker(broker, startup.journal, place)
    try:
        await startup.ready()
    except Exception:
        await startup.stop()
        runtime.use_broker(before, startup.journal, was)
        if was_started:
            startup.note_stopped(running)
            await startup.ready()
        raise
