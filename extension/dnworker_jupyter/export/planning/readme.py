"""Plans the README of an export: what flows where, and how it is run and tested; used by plan.

All of it is read from the planned files, so that the same notebook gives the same bytes. What somebody writes
around it stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dnworker.capability.manifest import CapabilityManifest
from dnworker.capability.reading import UnreadableFile, read_text
from dnworker.project.readme import README as README
from dnworker.project.readme import block_in as block_in
from dnworker.project.readme import make_block, new_readme, with_block


def readme(
    manifest: CapabilityManifest, files: Mapping[str, bytes], scripts: Mapping[str, str], into: Path
) -> str | None:
    """Return the text of the README; None where somebody wrote one without a place for it.

    Args:
        manifest: the planned one.
        files: the planned files by path.
        scripts: the path of each worker's script.
        into: the directory of the export; what is written around the part of an export in its README is kept.
    """
    block = make_block(manifest, files, scripts)
    try:
        there = read_text(into / README)
    except UnreadableFile:
        return None if (into / README).exists() else new_readme(manifest, block)
    return with_block(there, block)
