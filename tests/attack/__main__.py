"""`python -m tests.attack [NAME ...] [--short]`: run attacks, print what held, and fail if anything did not."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.attack.attack import Attack, Scale, all_attacks


async def run(one: Attack, *, short: bool) -> str | None:
    """Run an attack and print one line about it; returns what did not hold."""
    if (why := one.needs()) is not None:
        print(f"left out  {one.name}: {why}", flush=True)
        return None
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dnworker-attack-") as directory:
        try:
            async with asyncio.timeout(one.limit):
                result = await one.run(Scale(short, Path(directory)))
        except Exception as exc:
            failure = f"{one.title}: {exc or type(exc).__name__}"
        else:
            failure = None
    took = f"({time.monotonic() - began:.1f} s)"
    print(f"{'FAILED' if failure else 'held':<9} {one.name}: {failure or result} {took}", flush=True)
    return failure


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument(
        "name", nargs="*", help="attacks to run, or the beginnings of their names (default: all)"
    )
    parser.add_argument("--short", action="store_true", help="the form that the tests run")
    options = parser.parse_args()
    chosen = [a for a in all_attacks() if not options.name or a.name.startswith(tuple(options.name))]
    if not chosen:
        parser.error(f"no attack begins with {' or '.join(options.name)}")
    failures = [asyncio.run(run(one, short=options.short)) for one in chosen]
    failed = sum(failure is not None for failure in failures)
    print(f"{len(chosen) - failed} of {len(chosen)} attacks held or were left out, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
