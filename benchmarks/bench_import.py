"""What `from dnworker import Worker` adds to a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
import time

from common import QUICK, median, report, row

ROWS = ("import",)

RUNS = 1 if QUICK else 15


def milliseconds(code: str) -> float:
    """Return the wall time of one fresh interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1_000 * (time.perf_counter() - started)


def main() -> None:
    """Take turns, so that a slow moment of the machine meets both."""
    code = "from dnworker import Worker"
    milliseconds(code)
    pairs = [(milliseconds("pass"), milliseconds(code)) for _ in range(RUNS)]
    report(
        what="from dnworker import Worker, over a bare interpreter",
        rows=[row("import", [b for _, b in pairs], [a for a, _ in pairs])],
        bare_ms=median([a for a, _ in pairs]),
        added_ms=median([b - a for a, b in pairs]),
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
