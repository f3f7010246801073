"""Reads the MCP servers that a manifest and its files declare (contract 4.2); manifest and `mcp` use it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.reading import UnreadableFile, exists, is_number, read_json, shown
from dnworker.core.models import ComponentInfo

MCP_FILES = (".mcp.json", "mcp.json")
_ROOT_REFERENCE = "${CAPABILITY_ROOT}"


class McpEntry(msgspec.Struct, frozen=True):
    """One declared server; `problem` is why it can never be connected."""

    name: str
    fields: dict[str, Any]
    when: tuple[str, ...] = ()
    problem: str | None = None


class McpEntries(msgspec.Struct):
    """The servers of one capability; `dropped` are the parts of its declaration that are not read."""

    servers: dict[str, McpEntry] = msgspec.field(default_factory=dict)
    dropped: list[ComponentInfo] = msgspec.field(default_factory=list)


def read_mcp(declared: object, root: Path, flags: Collection[str]) -> McpEntries:
    """Read the servers of a capability: of its files, and those of the manifest, which win.

    Without a declaration both conventional files are read; `{}` turns servers off.

    Args:
        declared: the manifest's `mcp`.
        root: the capability's directory.
        flags: those that it declares.
    """
    found = McpEntries()
    if declared == {}:
        return found
    block = declared if isinstance(declared, dict) else {}
    files = [root / name for name in MCP_FILES if exists(root / name) or (root / name).is_symlink()]
    if isinstance(declared, dict):
        files = list(_listed_files(block.get("files"), root, found.dropped))
    # Each server with its fields, and whether a file declares it; the last declaration of a name counts.
    declarations: dict[str, tuple[Any, bool]] = {}
    for file in files:
        for name, fields in _read_file(file, found.dropped).items():
            declarations[str(name)] = fields, True
    inline = block.get("servers") or {}
    if not isinstance(inline, dict):
        found.dropped.append(_dropped("capability", "mcp.servers", "mcp.servers is a mapping of servers"))
        inline = {}
    declarations |= {str(name): (fields, False) for name, fields in inline.items()}
    for name, (fields, from_file) in declarations.items():
        if not isinstance(fields, dict):
            why = f"mcp server {name!r} must be a mapping of fields"
            found.dropped.append(_dropped("mcp_server", name, why))
            continue
        problem = _problem(f"mcp server {name!r}", fields, flags, from_file=from_file)
        problem = None if problem is None else shown(problem)
        when = () if problem else tuple(fields.get("when") or ())
        rooted = {str(k): _plain(_rooted(v, str(root))) for k, v in fields.items()}
        found.servers[name] = McpEntry(name, rooted, when, problem)
    return found


def _problem(prefix: str, fields: dict[str, Any], flags: Collection[str], *, from_file: bool) -> str | None:
    for key in ("timeout", "init_timeout"):
        if not is_number(fields.get(key, 0)):
            return f"{prefix}: {key} is a number of seconds, not {fields[key]!r}"
    auth, headers = fields.get("auth"), fields.get("headers") or {}
    if auth is not None and not (isinstance(auth, dict) and auth.get("type", "oauth") == "oauth"):
        return f"{prefix}: auth is a mapping with type: oauth, not {auth!r}"
    if "command" in fields:
        if auth is not None:
            return f"{prefix} is a command; auth is for those with a url"
    elif "url" not in fields:
        return f"{prefix} needs a command or a url"
    elif not isinstance(headers, dict) or any(
        isinstance(v, dict) and "value" not in v for v in headers.values()
    ):
        return f"{prefix}: headers maps names to text, or to {{value, optional}}"
    return _when_problem(prefix, fields.get("when"), flags, from_file=from_file)


def _when_problem(prefix: str, when: object, flags: Collection[str], *, from_file: bool) -> str | None:
    if when is None:
        return None
    if from_file:
        return f"{prefix}: when has no effect in a file; declare the server in the manifest"
    if not isinstance(when, list) or not when or any(str(flag) not in flags for flag in when):
        return f"{prefix}: when must list declared flags, not {when!r}"
    return None


def _listed_files(listed: object, root: Path, dropped: list[ComponentInfo]) -> Iterator[Path]:
    if not isinstance(listed or [], list):
        dropped.append(_dropped("capability", "mcp.files", "mcp.files is a list of paths"))
        return
    entries: list[object] = list(listed) if isinstance(listed, list) else []
    for entry in entries:
        if not isinstance(entry, str):
            dropped.append(_dropped("capability", "mcp.files", f"mcp.files holds paths, not {entry!r}"))
        elif exists(root / entry):
            yield root / entry
        else:
            dropped.append(_dropped("capability", entry, f"mcp.files: there is no file {root / entry}"))


def _read_file(file: Path, dropped: list[ComponentInfo]) -> dict[str, Any]:
    try:
        read = read_json(file)
        entries = read.get("mcpServers", {}) if isinstance(read, dict) else None
        if not isinstance(entries, dict):
            raise TypeError("it has no mapping mcpServers")
    except UnreadableFile as exc:
        dropped.append(_dropped("mcp_server", file.name, str(exc), status="error"))
        return {}
    except (ValueError, TypeError) as exc:
        dropped.append(_dropped("mcp_server", file.name, f"{file}: {exc}", status="error"))
        return {}
    return entries


def _dropped(kind: str, name: str, error: str, *, status: str = "degraded") -> ComponentInfo:
    return ComponentInfo(kind=kind, name=shown(name), status=status, error=shown(error))


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: YAML has dates, sets, bytes, and keys that are no text."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    is_json = value is None or isinstance(value, bool | int | str) or is_number(value)
    return value if is_json and not isinstance(value, bytes) else str(value)


def _rooted(value: Any, root: str) -> Any:
    if isinstance(value, str):
        return value.replace(_ROOT_REFERENCE, root)
    return [_rooted(item, root) for item in value] if isinstance(value, list) else value
