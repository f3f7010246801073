"""The options of `serve` for what it prints and logs: `--log-format`, `--log-level`, `--verbose`."""

from __future__ import annotations

import argparse
import logging
import sys

from dnworker.cli.json_lines import Entry, JsonOutlet, RecordHandler, line_of, speaking

LEVELS = ("debug", "info", "warning", "error")


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="what each line of output is: text, or a JSON object (default: %(default)s)",
    )
    parser.add_argument(
        "--log-level", choices=LEVELS, help="what the runtime logs to stderr at least (default: warning)"
    )
    parser.add_argument("--verbose", action="store_true", help="the same as --log-level info")


def set_up_logging(level: str, *, json_lines: bool) -> None:
    """Have all records of `logging` written to standard error, from a level on."""
    handler = RecordHandler(sys.stderr)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(json_lines)


def failed(exc: Exception, *, is_said: bool) -> int:
    """Say as a line of JSON that the command has failed, and return its exit code; else raise the error."""
    if not is_said:
        raise exc
    entry = Entry.of_error(exc)
    with speaking(entry):  # within the streams of `serve` this is what makes the line; before, it is text
        has_lines = isinstance(getattr(sys.stderr, "outlet", None), JsonOutlet)
        sys.stderr.write(f"{entry.message}\n" if has_lines else line_of(entry).decode())
        sys.stderr.flush()
    return 1
