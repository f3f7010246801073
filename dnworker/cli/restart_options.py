"""The options of `serve` for the restart of processes that fail: `--restart` and `--max-restarts`."""

from __future__ import annotations

import argparse

from dnworker.core.errors import UsageError
from dnworker.core.restarts import RestartPolicy, parse_budget, restart_policy


def add_restart_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--restart",
        choices=["no", "on-failure"],
        default="no",
        help="whether a worker's process is started again when it fails (default: %(default)s)",
    )
    parser.add_argument(
        "--max-restarts",
        metavar="N/TIME",
        help="with --restart on-failure: how often before it stays in error (default: 5/60s)",
    )


def policy_of(options: argparse.Namespace) -> RestartPolicy | None:
    """Return the policy that the options describe.

    Raises:
        UsageError: the number of restarts has another form, or is given without `--restart on-failure`.
    """
    if options.max_restarts is None:
        return restart_policy(options.restart)
    if options.restart != "on-failure":
        raise UsageError(
            "--max-restarts limits restarts, and there are none without --restart on-failure", code="DN317"
        )
    try:
        return parse_budget(options.max_restarts)
    except UsageError as exc:
        raise UsageError(f"--max-restarts: {exc}", code="DN317") from None
