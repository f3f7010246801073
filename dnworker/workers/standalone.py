"""Runs one worker as a process of its own, against a runtime named by the environment (contract 1.4)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dnworker.core.errors import with_code
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import WorkerState

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient
    from dnworker.workers.recorders import Recorder
    from dnworker.workers.registry import HandlerRegistry
    from dnworker.workers.runner import WorkerRunner


RUN_SCHEDULES = "DNWORKER_RUN_SCHEDULES"
MEMBER = "DNWORKER_MEMBER"
"""Which member of its worker the process is, as `demo:bridge#1`; only the first runs schedules and tasks."""
"""Says which schedules run once at the start: their keys as JSON, of those that missed a run, or `1` for all.

The check of an export says `1`, as few are due while a check runs.
"""

attach: Callable[[Any], bool] | None = None
"""`run` and `arun` call it first: it takes a worker into the runtime of this process, if there is one."""


def run(worker: HandlerRegistry) -> None:
    """Log to stderr and run until SIGTERM or SIGINT; a failure ends the process with code 1."""
    if attach is not None and attach(worker):
        return
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(arun(worker))
    except (RuntimeError, ValueError) as exc:
        # What a person reads in the log is the reason, not where in our code it came to light.
        print(f"worker {worker.name or '(no name)'}: {with_code(exc)}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None


async def arun(worker: HandlerRegistry) -> None:
    """Run on the current loop until SIGTERM or SIGINT."""
    if attach is not None and attach(worker):
        return
    from dnworker.workers.reporter import reporter_from_environment

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except (NotImplementedError, RuntimeError):  # a loop without signals, or not the main thread
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    await run_until(worker, stop, reporter_from_environment(worker))


async def run_until(worker: HandlerRegistry, stop: asyncio.Event, recorder: Recorder | None = None) -> None:
    """Run the whole lifecycle until `stop` is set.

    Raises:
        ValueError: the worker has no name.
        RuntimeError: the runtime cannot be reached, or the worker went to `error`; the text says why.
    """
    if worker.name is None:
        raise ValueError("a worker that runs by itself needs a name: Worker(name='bridge')")
    from dnworker.workers.forgotten import noticed
    from dnworker.workers.kept_state import kept_by_runtime
    from dnworker.workers.lasting_loop import lasting
    from dnworker.workers.recorders import log_unhandled

    client = _client_of(worker.name)
    failure: list[str] = []

    def on_state_change(state: WorkerState, error: str | None) -> None:
        if state is WorkerState.ERROR:
            failure.append(error or "worker entered error state")
            stop.set()

    try:
        await client.start()
        kept, recorder = await kept_by_runtime(client.connection, lambda: worker.state, recorder)
        runner = _runner_of(worker, client, recorder)
        runner.lifecycle.listen(on_state_change)
        with lasting(asyncio.get_running_loop(), log_unhandled), noticed():
            await runner.start()
            if wanted := os.environ.pop(RUN_SCHEDULES, None):
                runner.run_schedules(_keys_of(wanted))
            await stop.wait()
            await runner.stop()
            await kept.close()
        if runner.state is WorkerState.STOPPED and runner.error is not None:
            # The last line of output: by it the runtime that spawned us learns of it.
            print(runner.error, file=sys.stderr, flush=True)  # noqa: T201
    finally:
        await client.close()
    if failure:
        raise RuntimeError(failure[0])


def _runner_of(worker: HandlerRegistry, client: RuntimeClient, recorder: Recorder | None) -> WorkerRunner:
    from dnworker.workers.nesting import around_of_process
    from dnworker.workers.runner import WorkerRunner

    runner = WorkerRunner(
        worker,
        client,
        event_source=lambda kinds: client.subscribe(*kinds),
        recorder=recorder,
        around=around_of_process(os.environ),
    )
    runner.as_member(os.environ.get(MEMBER, ""))
    return runner


def _client_of(worker: str) -> RuntimeClient:
    from dnworker.client import client

    return client.RuntimeClient(default_session_origin="worker", default_session_labels={"worker": [worker]})


def _keys_of(wanted: str) -> list[HandlerKey] | None:
    """Return which schedules run at the start; None for all."""
    return None if wanted == "1" else [HandlerKey(*key) for key in json.loads(wanted)]
