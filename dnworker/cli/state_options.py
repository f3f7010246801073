"""Options of `dnworker serve` that name workers: `--keep-state`, `--check-payloads`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dnworker.cli.named_workers import refuse_unknown

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


def add_state_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "--keep-state",
        action="append",
        default=[],
        metavar="CAP:WORKER",
        help="keep this worker's state after each invocation for its next start; may be repeated",
    )
    parser.add_argument(
        "--check-payloads",
        action="append",
        default=[],
        metavar="CAP:WORKER",
        help="refuse what this worker publishes that breaks the type declared for its kind; may be repeated",
    )


def check_kept(runtime: Runtime) -> None:
    """Refuse names that are no worker, once all is loaded.

    Raises:
        UsageError: there is no such worker.
    """
    refuse_unknown(runtime, runtime.services.keep_state, "--keep-state")
    refuse_unknown(runtime, runtime.services.check_payloads, "--check-payloads")
