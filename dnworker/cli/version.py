"""`dnworker --version`: the version first, for programs, then the build, Python and the system."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from typing import Any

from dnworker._version import __version__, build
from dnworker.cli.text import print_json


class Version(argparse.Action):
    """Prints the version and ends; with `--json` before or after it, as JSON."""

    def __init__(self, option_strings: Sequence[str], dest: str, **others: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=others.get("help"))

    def __call__(self, parser: argparse.ArgumentParser, *others: Any) -> None:
        """Print it: git is asked only here, not by each command."""
        print(version_line())
        parser.exit()


def version_line() -> str:
    """Return one line whose second word is the version."""
    made = build()
    about = [*([made] if made else []), f"Python {platform.python_version()}", _system()]
    return f"dnworker {__version__} ({', '.join(about)})"


def print_version_json(_: argparse.Namespace) -> int:
    """Print the same as JSON; returns the exit code."""
    facts = {
        "version": __version__,
        "build": build(),
        "python": platform.python_version(),
        "system": _system(),
    }
    print_json({"ok": True, **facts})
    return 0


def _system() -> str:
    return f"{platform.system().lower()} {platform.machine()}"
