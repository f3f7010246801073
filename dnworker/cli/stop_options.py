"""The options of `serve` for its end, `--drain` and `--stop-within`, and the times that follow from them."""

from __future__ import annotations

import argparse
import math

import msgspec

from dnworker.core.errors import UsageError

STOP_WITHIN = 6.5
"""Seconds of `--stop-within` by default; all other times of an end keep their proportion to it."""

LONGEST = 3600.0
"""Seconds that either option may be at most."""

SHORTEST = 0.5
"""Seconds that `--stop-within` may be at least."""


class EndTimes(msgspec.Struct, frozen=True):
    """When what happens at the end of `serve`, in seconds after the first signal."""

    within: float = STOP_WITHIN
    """Seconds for what runs and waits, and for workers and turns to stop, once `drain` is over."""
    drain: float = 0.0
    """Seconds for which it serves on, and only says that it is not ready."""

    @property
    def work_off(self) -> float:
        """Seconds of `within` in which what runs may end; then handlers are cancelled."""
        return self.within / 2

    @property
    def handlers_end(self) -> float:
        """When what still runs is named, a moment before cancelled handlers are left behind."""
        return self.drain + 4.9 * self._scale

    @property
    def process_ends(self) -> float:
        """When the process ends, whatever is left."""
        return self.drain + 9.0 * self._scale

    @property
    def tracebacks(self) -> float:
        """When `faulthandler` ends a process that is past running Python threads."""
        return self.process_ends + 0.4

    @property
    def kill(self) -> float:
        """When `last_resort.py` kills it: nothing of it is there a second later."""
        return self.process_ends + 0.6

    @property
    def _scale(self) -> float:
        return self.within / STOP_WITHIN


def add_stop_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--drain",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="at SIGTERM: serve on for so long, and answer /api/ready with 503 (default: %(default)g)",
    )
    parser.add_argument(
        "--stop-within",
        type=float,
        default=STOP_WITHIN,
        metavar="SECONDS",
        help="how long what runs and workers get to end; then they are left behind (default: %(default)g)",
    )


def end_times_of(options: argparse.Namespace) -> EndTimes:
    """Return the times that the options describe.

    Raises:
        UsageError: one is out of range.
    """
    for name, seconds, least in (
        ("--drain", options.drain, 0.0),
        ("--stop-within", options.stop_within, SHORTEST),
    ):
        if not (math.isfinite(seconds) and least <= seconds <= LONGEST):
            raise UsageError(
                f"{name} is {seconds:g}; it takes {least:g} to {LONGEST:g} seconds", code="DN930"
            )
    return EndTimes(options.stop_within, options.drain)
