"""Capabilities with MCP servers for these tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path

SERVERS = Path(__file__).parents[2] / "data" / "mcp_servers"


def stdio(file: str, *args: str, **fields: object) -> dict[str, object]:
    """Return the entry of a server that is one of the files of `tests/data/mcp_servers`."""
    return {"command": sys.executable, "args": [str(SERVERS / file), *args], **fields}


def write(root: Path, servers: dict[str, dict[str, object]], more: str = "", name: str = "demo") -> Path:
    """Write a capability with these servers; JSON is YAML, too."""
    root.mkdir(parents=True, exist_ok=True)
    mcp = json.dumps({"servers": servers})
    text = f"schema: 1\nname: {name}\nversion: 1.0.0\ndescription: d\n{more}mcp: {mcp}\n"
    (root / "capability.yaml").write_text(text)
    return root


def is_alive(pid: int) -> bool:
    """Return whether a process runs, and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found += [int(entry.name), *children(int(entry.name))]
    return found
