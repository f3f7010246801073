"""The README of a capability: what is written for people, and between two marks what an export writes again.

`dnworker init` writes one, and so does every export.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dnworker.capability.manifest import CapabilityManifest
from dnworker.project.guide import guide
from dnworker.project.sources import worker_sources

README = "README.md"

BEGIN = "<!-- what flows where: the next export writes this part again, up to its end -->"
END = "<!-- the end of what flows where -->"
_BLOCK = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}\n", re.DOTALL)


def block_in(readme: str) -> str | None:
    """Return the part of a README that an export wrote; None where there is none."""
    found = _BLOCK.search(readme)
    return None if found is None else found[0]


def make_block(manifest: CapabilityManifest, files: Mapping[str, bytes], scripts: Mapping[str, str]) -> str:
    """Return the part that an export writes.

    Args:
        manifest: the capability's.
        files: its files by path.
        scripts: the path of each worker's script, of those that have one in Python.
    """
    tests = [path for path in files if path.startswith("tests/") and path.endswith(".py")]
    return f"{BEGIN}\n{guide(manifest, worker_sources(manifest, files, scripts), tests)}{END}\n"


def new_readme(manifest: CapabilityManifest, block: str) -> str:
    """Return a README where there is none yet."""
    words = f"{manifest.description.strip()}\n\n" if manifest.description.strip() else ""
    return f"# {manifest.name}\n\n{words}## What flows where\n\n{block}"


def with_block(readme: str, block: str) -> str | None:
    """Return somebody's README with the part brought up to date; None where it has no place for it."""
    return None if block_in(readme) is None else _BLOCK.sub(lambda _: block, readme, count=1)
