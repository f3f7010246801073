"""Where the program begins: `probe` alone, which is to be quick, or the whole command line of `main.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; see `main.py`."""
    words = sys.argv[1:] if arguments is None else arguments
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
