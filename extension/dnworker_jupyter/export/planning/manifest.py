"""The manifest of an export: head, entries of workers, text; used by planning, disk and importer."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dnworker.capability.manifest import MANIFEST_NAME, ROOT_REFERENCE, CapabilityManifest, parse_manifest
from dnworker.capability.yaml_reading import parse
from dnworker.capability.yamltree import YamlError
from dnworker.core.errors import ManifestError, UsageError
from dnworker.core.topology import Topology
from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.programs import Program, command_words
from dnworker_jupyter.syntax.options import Options

Entry = dict[str, object]
"""What the manifest says of one worker."""


@dataclass(frozen=True)
class Head:
    """The text before the workers of the manifest; `rest` is the text after them in one that is kept."""

    name: str
    text: str
    rest: str | None = None
    cell: SourceCell | None = None
    """The `%%capability` cell that it is from."""
    declared: CapabilityManifest | None = None
    """What it says."""


def read_head(cells: Sequence[SourceCell], existing: str | None, default_name: str) -> Head:
    """Return the head of the last `%%capability` cell, else of the existing manifest, else a new one.

    Raises:
        ManifestError: the head breaks a rule, or has workers.
    """
    cell = next((c for c in reversed(cells) if c.category == "capability"), None)
    label, first_line, rest = MANIFEST_NAME, 1, None
    if cell is not None:
        text, label, first_line = _without_marker(cell.body), cell.label, 2
    elif existing is not None:
        text, _, rest = around_workers(existing)
    else:
        text = f"name: {default_name}\nversion: 0.1.0\ndescription: Workers exported from a notebook\n"
    whole = text + (rest or "")
    declared = parse_manifest(whole, Path("/"), is_head=True, source=label, first_line=first_line)
    if declared.workers:
        raise ManifestError(
            [f"{label}: workers come from %%worker cells; take the workers: block out"], code="DN410"
        )
    return Head(declared.name, text, rest, cell, declared)


def worker_entry(name: str, path: str, topology: Topology, options: Options) -> Entry:
    """Return the entry of a worker with a script.

    Raises:
        UsageError: it has variables, and no process of its own.
    """
    script = f"{ROOT_REFERENCE}/{path}"
    entry: Entry
    match topology:
        case "uv":
            entry = {"command": "uv", "args": ["run", script]}
        case "python":
            entry = {"command": "python", "args": [script]}
        case "in-process":
            if options.env:
                raise UsageError(
                    f"worker {name!r}: --env needs a process of its own: --topology uv or python",
                    code="DN322",
                )
            entry = {"path": path}
    return entry | _conditions(options)


def program_entry(program: Program, path: str | None) -> Entry:
    """Return the entry of a worker that is a program; `path` is its file, where it has one."""
    words = shlex.split(program.command)
    command, *args = words if path is None else command_words(words, f"{ROOT_REFERENCE}/{path}")
    entry: Entry = {"command": command} | ({"args": args} if args else {})
    return entry | _conditions(program.options)


def _conditions(options: Options) -> Entry:
    """Return the variables of a worker, and the flags that it needs."""
    env: Entry = {"env": dict(options.env)} if options.env else {}
    return env | ({"when": list(options.when)} if options.when else {})


def manifest_text(head: Head, entries: Mapping[str, Entry]) -> str:
    """Return the manifest: the head as it was written, the workers, and the rest as it was written.

    Blank lines around a head that a cell gives are left out.

    Raises:
        ManifestError: it breaks a rule.
    """
    text, rest = head.text, head.rest or ""
    if head.rest is None:
        text = text.strip("\n") + "\n"
    if text and not text.endswith("\n"):
        text += "\n"
    if not any(line.startswith("schema:") for line in [*text.splitlines(), *rest.splitlines()]):
        text = f"schema: 1\n{text}"
    workers = yaml.safe_dump(
        dict(entries), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    indented = "".join(f"  {line}\n" for line in workers.splitlines())
    manifest = f"{text}workers:\n{indented}{rest}"
    checked = parse_manifest(manifest, Path("/"), source=MANIFEST_NAME)
    if broken := [w.problem for w in checked.workers.values() if w.problem is not None]:
        raise ManifestError(broken)
    return manifest


def around_workers(text: str) -> tuple[str, str, str]:
    """Return the text before the workers of a manifest, their own text, and the text after them.

    Comments behind the last worker that are not indented belong to the text after them.
    """
    try:
        parse(text)  # which refuses what is too large for the slower reader here
        root = yaml.compose(f"{text}\n", yaml.SafeLoader)  # so that the last line has an end too
    except (YamlError, yaml.YAMLError):  # the parser of the manifest says what is wrong, and where
        return text, "", ""
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    found = next(((key, value) for key, value in pairs if key.value == "workers"), None)
    if found is None:
        return text, "", ""
    key, value = found
    lines = text.splitlines(keepends=True)
    first = key.start_mark.line
    if isinstance(value, yaml.CollectionNode) and not value.flow_style:
        end = min(value.end_mark.line, len(lines))  # the line of what comes next
        while end > first + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
            end -= 1
    else:
        end = value.end_mark.line + 1
    return "".join(lines[:first]), "".join(lines[first:end]), "".join(lines[end:])


def _without_marker(head: str) -> str:
    """Replace the `---` that may begin a YAML document by a comment: `schema` is written before it."""
    lines = head.splitlines()
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if first is not None and lines[first].strip() == "---":
        lines[first] = "#"
    return "\n".join(lines) + "\n"
