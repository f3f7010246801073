"""How many minutes `make test` takes; runs only where it is named, as `--only tests --write` does."""

from __future__ import annotations

import subprocess
import time

from common import PROJECT, QUICK, report, row

ROWS = ("tests",)


def main() -> None:
    """Run all tests once."""
    command = ["make", *(["--dry-run"] if QUICK else []), "test"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    minutes = (time.perf_counter() - began) / 60
    if done.returncode != 0:
        raise SystemExit(f"the tests fail, so their time says nothing:\n{done.stdout[-3000:]}")
    report(what="make test", rows=[row("tests", [minutes])], runs=1)


if __name__ == "__main__":
    main()
