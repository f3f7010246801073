"""The option `--loop` of `serve`, and the loop that it chooses."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Callable
from importlib.util import find_spec

from dnworker.core.errors import UsageError
from dnworker.engine.own_loop import SharedLoop

log = logging.getLogger("dnworker.serve")

LOOPS = ("auto", "asyncio", "uvloop")


def add_loop_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--loop",
        choices=LOOPS,
        default="auto",
        help="the event loop; auto is uvloop where dnworker[speed] is installed (default: %(default)s)",
    )


def check_loop(name: str) -> None:
    """Check that a loop can be had, without importing it.

    Raises:
        UsageError: it is uvloop, which is not installed.
    """
    if name == "uvloop" and find_spec("uvloop") is None:
        raise UsageError(
            "--loop uvloop: it is not installed here; install it with: pip install 'dnworker[speed]'",
            code="DN902",
        )


def loop_of(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop of this name.

    Raises:
        UsageError: it is uvloop, which is not installed, or cannot be imported.
    """
    check_loop(name)
    if name == "asyncio" or find_spec("uvloop") is None:
        return SharedLoop
    try:
        from dnworker.engine.own_uvloop import SharedUvloop
    except ImportError as exc:  # of another platform, or another Python
        if name == "uvloop":
            raise UsageError(f"--loop uvloop: it cannot be imported: {exc}", code="DN902") from exc
        log.warning("uvloop is installed and cannot be imported, so asyncio's loop runs: %s", exc)
        return SharedLoop
    return SharedUvloop
