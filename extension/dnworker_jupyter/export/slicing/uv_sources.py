"""Finds where a distribution came from if from no index, for `[tool.uv.sources]`; used by requirements."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from dnworker_jupyter.export.slicing.installed import direct_url, editable_projects, path_of_url


@dataclass(frozen=True)
class Source:
    """A source of uv as TOML, or why uv has none for it."""

    text: str | None = None
    place: Path | None = None
    """The directory or file of this machine that it names."""
    problem: str | None = None


def source_of(distribution: Distribution) -> Source | None:
    """Return where a distribution was installed from; None where it came from an index.

    That is its project's directory where it is installed in place, by any build backend: by `direct_url.json`
    (PEP 610), and where older tools wrote none by the files that they did write. A path is absolute: an
    export is checked, locked and deployed from several directories, and a relative one would mean another
    place in each.
    """
    record = direct_url(distribution)
    url = _without_secrets(str(record.get("url", "")))
    below = _below(record)
    match record:
        case {"vcs_info": {"vcs": "git", **info}}:
            rev = str(info.get("commit_id") or info.get("requested_revision") or "")
            return Source(_table(git=url, rev=rev, **below))
        case {"vcs_info": {"vcs": vcs}}:
            return Source(problem=f"was installed by {vcs} from {url}, which uv cannot do")
        case {"archive_info": _} if (file := path_of_url(url)) is None:
            return Source(_table(url=url, **below))
        case {"archive_info": _} | {"dir_info": _} if (file := path_of_url(url)) is not None:
            editable = {"editable": True} if _is_editable(record) else {}
            return Source(_table(path=str(file), **below, **editable), file)
    name = canonicalize_name(str(distribution.metadata["Name"]))
    root = editable_projects().get(name)
    return None if root is None else Source(_table(path=str(root), editable=True), root)


def _without_secrets(url: str) -> str:
    """Return a URL without user and password, which an installer should have left out; ssh needs its user."""
    return re.sub(r"^((?:git\+)?https?://)[^/@]*@", r"\1", url)


def _is_editable(record: dict[str, Any]) -> bool:
    return bool((record.get("dir_info") or {}).get("editable"))


def _below(record: dict[str, Any]) -> dict[str, str]:
    found = record.get("subdirectory")
    return {"subdirectory": str(found)} if found else {}


def _table(**fields: object) -> str:
    given = [f"{name} = {json.dumps(value)}" for name, value in fields.items() if value != ""]
    return "{ " + ", ".join(given) + " }"
