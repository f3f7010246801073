"""`python -m dnworker`: the same as the command `dnworker`."""

from __future__ import annotations

import sys

from dnworker.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
