"""`dnworker deploy monitoring`: writes the dashboard of Grafana and the alerts of Prometheus."""

from __future__ import annotations

import argparse
from pathlib import Path

from dnworker.cli.text import print_json, printable
from dnworker.core.errors import UsageError
from dnworker.core.files import write_atomically
from dnworker.deploy.monitoring import monitoring_files


def write(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        UsageError: the directory has another file of one of the names, or cannot be written.
    """
    directory: Path = options.output
    files = monitoring_files()
    try:
        for name, text in files.items():
            if not options.force and (directory / name).exists() and _read(directory / name) != text:
                raise UsageError(
                    f"{directory / name} is there with another text; name another directory, or give --force",
                    code="DN522",
                )
        for name, text in files.items():
            write_atomically(directory / name, text, mode=0o644)
    except OSError as exc:
        why = exc.strerror or exc
        raise UsageError(f"{exc.filename or directory} cannot be written: {why}", code="DN522") from exc
    written = [str(directory / name) for name in files]
    if options.json:
        print_json({"ok": True, "files": written})
    else:
        print(printable("\n".join(f"{name} is written" for name in written)))
    return 0


def _read(file: Path) -> str | None:
    """Return the text of a file; None for bytes that are none, which are of somebody else."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
