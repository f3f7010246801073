"""Where the program begins: `probe` alone, which is to be quick, or the whole command line of `main.py`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; see `main.py`."""
    words = sys.argv[1:] if arguments is None else arguments
    _open_what_is_closed()
    if words and words[0] == "probe":
        from dnworker.cli.probe import main as probe

        return probe(words[1:])
    try:
        from dnworker.core.collection import collection_held

        with collection_held(stays=True):
            from dnworker.cli.main import read_options, run

            options = read_options(words)
        return run(options)
    except KeyboardInterrupt:  # while this is imported, which takes a moment
        return 130


def _open_what_is_closed() -> None:
    """Have each standard stream that was closed at the start lead nowhere.

    A socket would get its number, and what a library prints would go to that.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(nowhere, True)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8"))
