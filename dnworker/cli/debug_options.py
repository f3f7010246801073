"""The options of `dnworker serve` that let debuggers attach to worker processes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

from dnworker.cli.named_workers import refuse_unknown
from dnworker.cli.text import printable
from dnworker.core.errors import UsageError
from dnworker.workers.debugging import ProcessDebug

if TYPE_CHECKING:
    from dnworker.runtime import Runtime
    from dnworker.workers.managed import ManagedWorker
    from dnworker.workers.subprocess_worker import SubprocessWorker


def add_debug_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "--debug",
        action="append",
        default=[],
        metavar="CAP:WORKER",
        help="let a debugger attach to this worker's process, on a port of 127.0.0.1; may be repeated",
    )
    parser.add_argument(
        "--debug-wait",
        action="append",
        default=[],
        metavar="CAP:WORKER",
        help="the same, and its script begins when a debugger has attached",
    )


def debug_workers(runtime: Runtime, options: argparse.Namespace) -> None:
    """Have the named workers start with debugpy, before they are loaded."""
    for name in options.debug:
        runtime.services.debugged.put(name, ProcessDebug())
    for name in options.debug_wait:
        runtime.services.debugged.put(name, ProcessDebug(wait=True))


def check_debugged(runtime: Runtime) -> None:
    """Refuse names that are no process, once all is loaded.

    Raises:
        UsageError: there is no such worker, or it runs inside of this process.
    """
    workers = {worker.qualified_name: worker for worker in runtime.workers()}
    refuse_unknown(runtime, runtime.services.debugged, "--debug")
    for name in runtime.services.debugged:
        if name in workers and not _is_process(workers[name]):
            raise UsageError(
                f"--debug {name}: it runs inside of this process, to which no debugger attaches; "
                "give it a `command` in its manifest, or debug it in a notebook",
                code="DN321",
            )


def shown(runtime: Runtime) -> Iterator[str]:
    """Go through what a person reads who wants to attach, a text for each worker."""
    for worker in _debugged(runtime):
        yield printable(worker.how_to_attach() or "")


def debugged_to_json(runtime: Runtime) -> dict[str, Any]:
    """Return where each listens, for `--json`; nothing where none does."""
    found = {worker.qualified_name: worker.detail()["process"]["debug"] for worker in _debugged(runtime)}
    return {"debug": found} if found else {}


def _debugged(runtime: Runtime) -> list[SubprocessWorker]:
    return [worker for worker in runtime.workers() if _is_process(worker) and worker.debug is not None]


def _is_process(worker: ManagedWorker) -> TypeGuard[SubprocessWorker]:
    """Return whether a worker has a process of its own; its class is imported where one has."""
    return worker.topology == "subprocess"
