"""Looks for words that are often misspelled, in pages, docstrings and messages; see pyproject.toml."""

from __future__ import annotations

import subprocess
import sys

from .pages import PROJECT

WHERE = (
    "docs",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "dnworker",
    "extension",
    "scripts",
)


def check() -> list[str]:
    """Return a line for each misspelled word: file, line, and what it should be."""
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *WHERE],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 65):
        raise RuntimeError(f"codespell failed:\n{done.stderr}")
    return done.stdout.splitlines()
