"""`dnworker verify`: compares an archive of `pack`, or what was unpacked of it, with the hashes in it."""

from __future__ import annotations

import argparse
from pathlib import Path

from dnworker.archive.verifying import Verified, verify
from dnworker.cli.text import print_json, printable
from dnworker.core.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `verify`."""
    parser.add_argument("path", type=Path, help="an archive, or the directory that it was unpacked to")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code, 1 where something differs.

    Raises:
        UsageError: it is no archive and no directory, has no list, or cannot be read.
    """
    try:
        found = verify(options.path)
    except OSError as exc:
        raise UsageError(
            f"{exc.filename or options.path} cannot be read: {exc.strerror or exc}", code="DN520"
        ) from exc
    if options.json:
        answer = {"ok": found.ok, "files": found.files, "list": found.list_digest}
        print_json(answer | {"problems": found.problems})
    else:
        print(printable("\n".join(_lines(found))))
    return 0 if found.ok else 1


def _lines(found: Verified) -> list[str]:
    if found.ok:
        files = f"{found.files:,} file{'s' * (found.files != 1)}"
        return [f"{found.path}: {files} as listed; the list is sha256 {found.list_digest}"]
    lines = [f"{found.path}: not as it was packed", *(f"  {problem}" for problem in found.problems)]
    if any("/__pycache__/" in problem for problem in found.problems):
        lines.append("  Python writes __pycache__ where a worker runs; PYTHONDONTWRITEBYTECODE=1 prevents it")
    return lines
