"""The option of `serve` for events whose handlers fail: `--retry`."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from dnworker.cli.named_workers import refuse_unknown
from dnworker.core.lifecycle import WorkerState
from dnworker.core.retry_policies import RetryPolicies, parse_worker_retry
from dnworker.core.text import closest
from dnworker.workers.inprocess_worker import InProcessWorker

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

log = logging.getLogger("dnworker.retries")


def add_retry_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--retry",
        action="append",
        default=[],
        metavar="CAP:WORKER[/KIND]=TIMES",
        help="give a worker an event again whose handler has failed, so often at most; "
        "such as demo:bridge=5,backoff=1s..5m,on=httpx.TransportError",
    )


def retry_of(options: argparse.Namespace) -> dict[str, RetryPolicies]:
    """Return the policies that are asked for, by worker.

    Raises:
        UsageError: one makes no sense.
    """
    return parse_worker_retry(options.retry)


def check_retried(runtime: Runtime) -> None:
    """Refuse names that are no worker, once all is loaded; warn of kinds that a worker does not hear.

    Raises:
        UsageError: there is no such worker.
    """
    policies = runtime.retries.policies
    refuse_unknown(runtime, policies, "--retry")
    for worker in runtime.workers():
        if worker.qualified_name not in policies or worker.state is not WorkerState.RUNNING:
            continue
        if isinstance(worker, InProcessWorker):  # of a process it is not known for sure what it hears
            heard = sorted(key.trigger for key in worker.stats if key.decorator == "on_event")
            _warn_of_unheard(worker.qualified_name, policies[worker.qualified_name], heard)


def _warn_of_unheard(worker: str, policies: RetryPolicies, heard: list[str]) -> None:
    for kind, _ in policies.of_kinds:
        if kind is not None and kind not in heard:
            near = closest(kind, heard)
            hint = f"; did you mean {near}?" if near else f"; it hears {', '.join(heard) or 'none'}"
            log.warning("--retry %s/%s: the worker has no handler of this kind%s", worker, kind, hint)
