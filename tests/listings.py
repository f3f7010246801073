"""Capabilities for tests, one a text: in the style of public ones, and with what a loader meets on disks.

`NAME.txt` has a line `=== PATH` before each file; `=== PATH -> TARGET` is a symbolic link, `=== PATH (latin-1)` a
file in that encoding, and a path that ends in `/` an empty directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnworker.capability.manifest import load_manifest
from dnworker.core.errors import ManifestError
from dnworker.core.models import ComponentInfo
from dnworker.engine.capability import Capability

DATA = Path(__file__).parent / "data" / "listings"

_HEAD = re.compile(r"^=== (\S+)(?: -> (\S+)| \((\S+)\))?\n", re.MULTILINE)


def names() -> list[str]:
    """Return the names of all capabilities."""
    return sorted(path.stem for path in DATA.glob("*.txt"))


def write_listing(name: str, directory: Path) -> Path:
    """Write the capability of a name below a directory, and return its root."""
    root = directory / name
    root.mkdir(parents=True)
    for path, target, encoding, text in _files((DATA / f"{name}.txt").read_text(encoding="utf-8")):
        place = root / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if target is not None:
            place.symlink_to(target)
        else:
            place.write_bytes(text.encode(encoding or "utf-8"))
    return root


def _files(text: str) -> Iterator[tuple[str, str | None, str | None, str]]:
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    for head, end in zip(heads, ends, strict=True):
        yield head[1], head[2], head[3], text[head.end() : end]


def listing(root: Path) -> dict[str, Any]:
    """Return what dnworker lists of the capability in a directory: its components, and its agents.

    What only a running system has, a loader cannot know: there a server that is declared well is `ok`, and a
    worker `stopped`.
    """
    try:
        manifest = load_manifest(root.resolve())
    except ManifestError:
        return {"components": [["capability", root.name, "error"]], "agents": []}
    capability = Capability(manifest)
    asyncio.run(capability.run_checks())
    shown = [e for e in capability.info().components if not _is_said_here_only(e)]
    entries = [[e.kind, e.name, _static(e.kind, e.status)] for e in shown]
    entries += [["worker", w.name, "error" if w.problem else "stopped"] for w in manifest.workers.values()]
    agents = [[a.name, a.description, a.model] for a in capability.parts.agents]
    return {"components": sorted(entries), "agents": agents}


def _is_said_here_only(entry: ComponentInfo) -> bool:
    """Return whether the reference passes over in silence what an entry says: tools are listed, and not there."""
    return entry.kind in ("tool", "hook", "policy") and (entry.error or "").endswith("which is not there")


def _static(kind: str, status: str) -> str:
    return "ok" if kind == "mcp_server" and status in ("stopped", "gated_off") else status


def random_capability(root: Path, numbers: random.Random) -> Path:
    """Write a capability of parts that are drawn: good and bad ones, at any depth, listed or found."""
    heads = ["", "---\n---\n", "---\nname: {n}\n---\n", "---\nname: {n}\ndescription: d\nmodel: m\n---\n"]
    heads += [
        "---\nname: [\n---\n",
        "---\ntools: [a]\n---\n",
        "---\ntools: {{a: true}}\n---\n",
        "---\n- a\n---\n",
    ]
    heads += [
        "---\nname: {n}\ndescription: d\nmetadata: {{a: 1}}\n---\n",
        " ---\nname: x\n---\n",
        "---\r\nname: r\r\n---\r\n",
    ]
    bodies = ["", "\n", "# Title\n", "Text of a line.\n\nMore.\n", "x" * 130 + "\n", "---\n"]
    codes = ["X = 1\n", "def (\n", "from .a import *\n"]
    codes += [
        "from dreadnode.agents.tools import tool\n\n@tool\ndef {m}(x: int) -> int:\n    '''D.'''\n    return x\n"
    ]
    directories = ["", "", "a/", "a/b/", ".c/", "_d/", "with space/"]
    names = ["a", "b", "README", "Upper", "x.y", "-dash"]
    for _ in range(numbers.randrange(1, 6)):
        name = numbers.choice(names)
        suffix = numbers.choice([".md", ".md", ".md", ".markdown", ".MD", ".txt", ""])
        text = numbers.choice(heads).format(n=numbers.choice(names)) + numbers.choice(bodies)
        _put(
            root / numbers.choice(["agents", "more"]) / numbers.choice(directories) / f"{name}{suffix}", text
        )
    for _ in range(numbers.randrange(4)):
        name = numbers.choice(["a", "b", "Upper", "a--b", "c-"])
        file = numbers.choice(["SKILL.md", "SKILL.md", "skill.md", "deep/SKILL.md"])
        head = numbers.choice(heads).format(n=numbers.choice([name, name, "other"]))
        _put(root / numbers.choice(["skills", "how"]) / name / file, head + numbers.choice(bodies))
    for _ in range(numbers.randrange(3)):
        module = numbers.choice(["a", "b", "_c"])
        code = numbers.choice(codes).replace("{m}", numbers.choice(["m", "n"]))
        _put(root / "tools" / numbers.choice(["", "deep/"]) / f"{module}.py", code)
    lists = [f"agents: {numbers.choice(['[]', '[more]', '[agents/, more/]', '[more/a.md, gone]'])}\n", ""]
    lists += [
        f"skills: {numbers.choice(['[]', '[how]', '[skills, gone]'])}\n",
        "tools: []\n",
        "hooks: [tools]\n",
    ]
    chosen = numbers.sample(lists, numbers.randrange(len(lists)))
    head = f"schema: 1\nname: c\nversion: 0.1.0\ndescription: d\n{''.join(chosen)}"
    return _put(root / "capability.yaml", head).parent


def _put(file: Path, text: str) -> Path:
    with contextlib.suppress(OSError):  # a directory has that name already, or a file the directory's
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return file


def expected() -> dict[str, Any]:
    """Return what the reference lists of each capability; a test of interop holds it against the real loader."""
    found: dict[str, Any] = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
    return found
