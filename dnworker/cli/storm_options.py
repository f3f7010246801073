"""The options of `serve` for events that cause themselves: `--storm` and `--storm-limit`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, get_args

from dnworker.core.errors import UsageError
from dnworker.core.limits import StormMode, storm_mode

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine


def add_storm_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--storm",
        choices=get_args(StormMode),
        default="warn",
        help="what is done about events that cause themselves: held back from workers, told, or nothing "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--storm-limit",
        type=int,
        metavar="N",
        help="how many of them within 10 s are a storm (default: 1000)",
    )


def apply_storm_options(options: argparse.Namespace, engine: Engine) -> None:
    """Have an engine do what the options say.

    Raises:
        UsageError: the limit is not positive.
    """
    check_storm_options(options)
    engine.storms.mode = storm_mode(options.storm)
    if options.storm_limit is not None:
        engine.storms.limit = options.storm_limit


def check_storm_options(options: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        UsageError: the limit is not positive.
    """
    if options.storm_limit is not None and options.storm_limit < 1:
        raise UsageError(
            f"--storm-limit {options.storm_limit}: a number of events is wanted, such as 1000", code="DN214"
        )
