"""Imports one worker's module; `dnworker validate` runs it as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from dnworker import compat
from dnworker.core.handler_error import describe
from dnworker.workers.loading import load_worker


def main(root: str, capability: str, name: str, file: str) -> int:
    """Return 0 when the module holds the worker, else 1 with the reason on stderr."""
    compat.install()
    try:
        load_worker(Path(root), capability, name, Path(file))
    except BaseException as exc:  # whatever the module does, sys.exit() included
        error = describe(exc)
        print(f"{error}" if error.frames else f"{exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
