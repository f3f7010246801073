"""The option of `serve` for events whose handlers fail: `--retry`."""

from __future__ import annotations

import argparse

from dnworker.core.retry_policies import RetryPolicies, parse_worker_retry


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
