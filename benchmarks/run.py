"""Runs every benchmark and prints one table; each program prints one line of JSON by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run them one after the other: two cores at once would measure each other."""
    failed = 0
    for program in sorted(HERE.glob("bench_*.py")):
        done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            failed += 1
            print(f"{program.stem}: failed\n{done.stderr[-800:]}")
            continue
        figures = json.loads(done.stdout)
        print(f"{figures.pop('what')}")
        for name, value in figures.items():
            print(f"    {name:<28} {value}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
