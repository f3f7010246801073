"""The options of `serve` for events that outlive the runtime: `--durable` and `--from`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.core.errors import UsageError
from dnworker.events.brokers.base import BEGINNING, NOW

if TYPE_CHECKING:
    from dnworker.core.schedule import Catchup
    from dnworker.events.brokers.sqlite.broker import SqliteBroker

DEFAULT_FILE = Path(".dreadnode/events.db")
"""Where a durable runtime keeps its events, below the working directory."""

STARTS = {"now": NOW, "beginning": BEGINNING}


def add_durable_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--durable",
        nargs="?",
        type=Path,
        const=DEFAULT_FILE,
        metavar="FILE",
        help=f"keep accepted events in this file until workers have handled them (default: {DEFAULT_FILE})",
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="now|beginning|SEQ",
        help="with --durable or --broker: where a worker begins that is not known there (default: now)",
    )
    parser.add_argument(
        "--catchup",
        choices=("once", "skip"),
        default="skip",
        help="with --durable or --broker: whether a schedule that was due while nothing ran, runs once at "
        "the start (default: %(default)s)",
    )


def catchup_of(options: argparse.Namespace) -> Catchup:
    """Return what becomes of runs of schedules that were missed while nothing ran.

    Raises:
        UsageError: they are to be made up for, and nothing remembers them.
    """
    catchup: Catchup = options.catchup
    if catchup == "once" and not _keeps_events(options):
        raise UsageError(
            "--catchup once: when a schedule ran last is kept with --durable or --broker only", code="DN709"
        )
    return catchup


def broker_of(options: argparse.Namespace) -> SqliteBroker | None:
    """Return the broker that the options describe; None for the one in memory.

    Raises:
        UsageError: the options do not go together, or the file is a directory.
    """
    file: Path | None = options.durable
    start = start_of(options)
    if file is None:
        return None
    if file.is_dir():
        raise UsageError(
            f"--durable {file}: this is a directory, and a file is wanted; "
            f"name the capability first: dnworker serve {file} --durable",
            code="DN709",
        )
    if options.journal is not None:
        raise UsageError(
            f"--durable {file} keeps the journal, too; leave out --journal {options.journal}", code="DN709"
        )
    from dnworker.events.brokers.sqlite.broker import SqliteBroker

    return SqliteBroker(file, start=start)


def start_of(options: argparse.Namespace) -> int:
    """Return where a worker begins that the broker does not know.

    Raises:
        UsageError: what is given is no place to begin at, or nothing is kept.
    """
    if options.start is None:
        return NOW
    if not _keeps_events(options):
        raise UsageError(
            f"--from {options.start}: events of earlier runs are kept with --durable or --broker only",
            code="DN709",
        )
    return parse_start(options.start, "--from")


def _keeps_events(options: argparse.Namespace) -> bool:
    return options.durable is not None or options.broker is not None


def parse_start(text: str, option: str) -> int:
    """Return where to begin: `now`, `beginning`, or after a `seq`.

    Raises:
        UsageError: it is none of these.
    """
    if text in STARTS:
        return STARTS[text]
    if text.isdecimal() and len(text) <= 18:  # SQLite's integers have 63 bits
        return int(text)
    raise UsageError(
        f"{option} {text}: now, beginning or the seq of an event is wanted, such as 1200", code="DN709"
    )
