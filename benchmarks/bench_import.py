"""What `from dnworker import Worker` adds to a bare interpreter; the limit is 60 ms."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

RUNS = 11


def seconds(code: str) -> float:
    """Return the wall time of one fresh interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Take turns, so that a slow moment of the machine meets both."""
    seconds("from dnworker import Worker")
    pairs = [(seconds("pass"), seconds("from dnworker import Worker")) for _ in range(RUNS)]
    bare = statistics.median(a for a, _ in pairs)
    added = statistics.median(b - a for a, b in pairs)
    print(
        json.dumps(
            {
                "what": "from dnworker import Worker, over a bare interpreter",
                "bare_ms": round(bare * 1000, 1),
                "added_ms": round(added * 1000, 1),
                "limit_ms": 60,
                "runs": RUNS,
            }
        )
    )


if __name__ == "__main__":
    main()
