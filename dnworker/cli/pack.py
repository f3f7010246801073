"""`dnworker pack`: makes one archive of capabilities, the same bytes for the same files."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from dnworker.archive.packing import Packed, pack
from dnworker.cli.progress import progress
from dnworker.cli.roots import roots_of
from dnworker.cli.text import print_json, printable
from dnworker.core.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pack`."""
    parser.add_argument(
        "capability",
        nargs="+",
        type=Path,
        help="directories with a capability.yaml, or with such directories",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the archive, a .tar.gz"
    )
    parser.add_argument(
        "--no-lock", action="store_true", help="do not have uv lock what scripts require (FILE.py.lock)"
    )
    parser.set_defaults(command=run, aside="; nothing was written")


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        ManifestError: a manifest breaks a rule.
        UsageError: something cannot be packed, read or written.
    """
    roots = [root for path in options.capability for root in roots_of(path, _say)]
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is temporary goes, too
    try:
        with progress() as on_progress:
            packed = pack(roots, options.output, locks=not options.no_lock, on_progress=on_progress)
    except OSError as exc:
        why = f"{exc.filename or options.output}: {exc.strerror or exc}"
        raise UsageError(f"{why}; nothing was written", code="DN518") from exc
    finally:
        signal.signal(signal.SIGTERM, before)
    if options.json:
        print_json(
            {
                "ok": True,
                "output": str(packed.file),
                "files": packed.files,
                "locked": packed.locked,
                "left_out": packed.left_out,
                "list": packed.list_digest,
            }
        )
    else:
        print(printable("\n".join(_lines(packed))))
    return 0


def _lines(packed: Packed) -> list[str]:
    count = len(packed.files)
    lines = [f"{packed.file} has {count:,} file{'s' * (count != 1)}; its list is sha256 {packed.list_digest}"]
    if packed.locked:
        lines.append(f"locked: {', '.join(packed.locked)}")
    if packed.left_out:
        more = f", and {len(packed.left_out) - 10:,} more" if len(packed.left_out) > 10 else ""
        lines.append(f"left out: {', '.join(packed.left_out[:10])}{more}")
    return lines


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)
