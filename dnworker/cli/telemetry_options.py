"""The options of `serve` for telemetry: `--otlp` and `--otlp-rate`."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from dnworker.telemetry.making import settings_of
from dnworker.telemetry.wanted import SPANS_PER_SECOND, is_wanted

if TYPE_CHECKING:
    from dnworker.telemetry.settings import TelemetrySettings


def add_telemetry_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--otlp",
        metavar="URL",
        help="send traces, metrics and logs to this OpenTelemetry collector, such as http://127.0.0.1:4318",
    )
    parser.add_argument(
        "--otlp-rate",
        type=int,
        default=SPANS_PER_SECOND,
        metavar="N",
        help="begin no new trace beyond so many spans a second (default: %(default)s)",
    )


def telemetry_of(options: argparse.Namespace) -> TelemetrySettings | bool:
    """Return where telemetry goes; False for nowhere.

    Raises:
        UsageError: an URL, a number or a variable makes no sense, or libraries are not installed.
    """
    if options.otlp is None and not is_wanted(os.environ):
        return False
    from dnworker.telemetry.settings import read_settings  # only where it is on

    return settings_of(read_settings(options.otlp, os.environ, per_second=options.otlp_rate), os.environ)
