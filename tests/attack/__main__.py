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


async def run_apart(chosen: list[Attack], jobs: int, *, short: bool) -> int:
    """Run each attack in a process of its own, so many at a time; returns how many failed."""
    free = asyncio.Semaphore(jobs)

    async def run_one(one: Attack) -> bool:
        command = [
            sys.executable,
            "-m",
            "tests.attack",
            "--jobs",
            "1",
            *(["--short"] if short else []),
            one.name,
        ]
        async with free:
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            output, _ = await process.communicate()
        lines = output.decode(errors="replace").rstrip().splitlines()
        print("\n".join(lines[:-1]), flush=True)  # without the sum
        return process.returncode != 0

    # Those with the highest limit take longest: begun first, they do not run alone in the end.
    in_order = sorted(chosen, key=lambda one: -one.limit)
    return sum(await asyncio.gather(*map(run_one, in_order)))


async def run_here(chosen: list[Attack], *, short: bool) -> int:
    """Run attacks one after the other; returns how many failed."""
    return sum([await run(one, short=short) is not None for one in chosen])


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument(
        "name", nargs="*", help="attacks to run, or the beginnings of their names (default: all)"
    )
    parser.add_argument("--short", action="store_true", help="the form that the tests run")
    parser.add_argument("--jobs", type=int, default=3, help="attacks at a time (default: %(default)s)")
    options = parser.parse_args()
    chosen = [a for a in all_attacks() if not options.name or a.name.startswith(tuple(options.name))]
    if not chosen:
        parser.error(f"no attack begins with {' or '.join(options.name)}")
    began = time.monotonic()
    if options.jobs > 1 and len(chosen) > 1:
        failed = asyncio.run(run_apart(chosen, options.jobs, short=options.short))
    else:
        failed = asyncio.run(run_here(chosen, short=options.short))
    took = f"in {time.monotonic() - began:.0f} s"
    print(f"{len(chosen) - failed} of {len(chosen)} attacks held or were left out, {failed} failed, {took}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
