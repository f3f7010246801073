"""Made-up directories of installed packages, as installers leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def install(
    site: Path, name: str, *files: str, version: str = "1.0.0", url: Mapping[str, object] | None = None
) -> None:
    """Install a distribution with these files, which are empty."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    listed = [*files, f"{info.name}/METADATA", f"{info.name}/RECORD"]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in listed))
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).touch()
    if url is not None:
        (info / "direct_url.json").write_text(json.dumps(url))


def project(root: Path, *files: str) -> Path:
    """Make a project with these files, which are empty."""
    for file in ("pyproject.toml", *files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def in_place(root: Path) -> dict[str, object]:
    """What `direct_url.json` says of a project that is installed in place."""
    return {"url": root.as_uri(), "dir_info": {"editable": True}}
