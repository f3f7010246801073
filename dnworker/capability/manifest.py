"""`load_manifest`: reads `capability.yaml` and checks the rules of contract 4.

Engine, validation, export and import use it. A broken rule is reported with line, column and code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.near_paths import way_out
from dnworker.capability.presence import component_problems
from dnworker.capability.problems import DocumentChecker, at_most, kind_of
from dnworker.capability.reading import UnreadableFile, read_text, resolved, shown
from dnworker.capability.yamltree import KEY, YamlError
from dnworker.capability.yamltree import Path as Where
from dnworker.core.errors import ManifestError

MANIFEST_NAME = "capability.yaml"
ROOT_REFERENCE = "${CAPABILITY_ROOT}"
"""Stands for the capability's directory in a manifest."""

AUTHORITATIVE = ("DREADNODE_RUNTIME_ID", "DREADNODE_RUNTIME_TOKEN", "DREADNODE_RUNTIME_URL")
MAX_FLAGS, MAX_CHECKS = 16, 100

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_FLAG_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORKER_KEYS = ("path", "command", "args", "env", "when")


class FlagDefinition(msgspec.Struct, frozen=True):
    """One flag that a capability declares."""

    name: str
    description: str
    default: bool = False


class WorkerDefinition(msgspec.Struct, frozen=True):
    """One entry of the `workers` map.

    Either `path` (in-process) or `command` is set. `${CAPABILITY_ROOT}` is replaced already, other `${VAR}`s
    are not. `problem` is why this worker cannot start (contract 4.3, FLAG-*), `members` what a node is told.
    """

    name: str
    path: Path | None = None
    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict)
    when: tuple[str, ...] = ()
    problem: str | None = None
    keep_state: bool = False  # what a cell says, never a manifest
    check_payloads: bool = False  # likewise
    members: int = 1


class CheckDefinition(msgspec.Struct, frozen=True):
    """A shell command that succeeds if the capability can work on this machine."""

    name: str
    command: str


class CapabilityManifest(msgspec.Struct, frozen=True):
    """A manifest that breaks no rule; `raw` is all of its YAML."""

    root: Path
    name: str
    version: str
    description: str
    workers: dict[str, WorkerDefinition] = msgspec.field(default_factory=dict)
    flags: dict[str, FlagDefinition] = msgspec.field(default_factory=dict)
    checks: tuple[CheckDefinition, ...] = ()
    path_entries: tuple[str, ...] = ()
    author: dict[str, str] | None = None
    license: str | None = None
    raw: dict[str, Any] = msgspec.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What breaks no rule and is hardly meant, with file, line and column: a key that stands twice."""


def load_manifest(root: Path) -> CapabilityManifest:
    """Read and check `root/capability.yaml`.

    Raises:
        ManifestError: the file is missing or breaks rules; it lists all of them.
    """
    try:
        return parse_manifest(read_text(root / MANIFEST_NAME), root)
    except UnreadableFile as exc:
        raise ManifestError([f"{exc}{way_out(root, MANIFEST_NAME)}"], code="DN402") from exc


def parse_manifest(
    text: str, root: Path, *, is_head: bool = False, source: str | None = None, first_line: int = 1
) -> CapabilityManifest:
    """Check the text of a manifest that stands, or will stand, in the directory `root`.

    Args:
        text: the YAML.
        root: the capability's directory; paths are resolved against it.
        is_head: whether this is the head only, to which workers and `schema` are added later.
        source: what messages call the text, instead of the file's path.
        first_line: the line of `source` on which the text begins.

    Raises:
        ManifestError: rules are broken; each message names file, line, column, field and code.
    """
    from dnworker.capability.yaml_reading import parse  # which takes long to import

    source = source or str(root / MANIFEST_NAME)
    try:
        document = parse(text)
    except YamlError as exc:
        place = f"{shown(source)}:{exc.line + first_line - 1}:{exc.column}"
        raise ManifestError([f"{place}: {exc}"], code="DN402") from exc
    try:
        checker = _Checker(document, shown(source), first_line, resolved(root))
    except UnreadableFile as exc:
        raise ManifestError([str(exc)], code="DN402") from exc
    manifest = checker.manifest(is_head)
    if checker.unlisted:
        checker.problems.append(
            f"{shown(source)}: and {checker.unlisted:,} more problems, which are not listed"
        )
    if checker.problems:
        raise ManifestError(checker.problems)
    return manifest


class _Checker(DocumentChecker):
    """The rules of contract 4, each with its code."""

    def manifest(self, is_head: bool) -> CapabilityManifest:
        data = self._document.value
        if is_head and isinstance(data, dict):
            data.setdefault("schema", 1)
        if not isinstance(data, dict):
            self.bad((), f"a manifest is a mapping of fields, not {kind_of(data)}", "VALID-001")
            return CapabilityManifest(self.root, "", "", "")
        self._schema(data)
        name = self._name(data)
        version = self._version(data)
        description = self._text(data, "description")
        flags = self._flags(data.get("flags"))
        workers = self._workers(data.get("workers"), flags)
        self._component_lists(data)
        path_entries = self._dependencies(data.get("dependencies"))
        checks = self._checks(data.get("checks"))
        self._secrets(data.get("secrets"))
        self.text_list(data.get("keywords"), ("keywords",), "VALID-001")
        if not isinstance(data.get("mcp"), dict | None):
            self.bad(
                ("mcp",), f"mcp is a mapping of files and servers, not {kind_of(data['mcp'])}", "MCP-001"
            )
        author = self._author(data.get("author"))
        if not (is_head or self.problems):
            for where, message, code in component_problems(data, self.root, flags):
                self.bad(where, message, code)
        return CapabilityManifest(
            root=self.root,
            name=name,
            version=version,
            description=description,
            workers=workers,
            flags=flags,
            checks=checks,
            path_entries=path_entries,
            author=author,
            license=data.get("license") if isinstance(data.get("license"), str) else None,
            raw=data,
            notes=self.doubled(),
        )

    # -- the head --------------------------------------------------------------------------------------

    def _schema(self, data: dict[Any, Any]) -> None:
        if "schema" not in data:
            self.bad((), "field 'schema' is missing; write schema: 1", "VALID-001")
        elif isinstance(data["schema"], bool) or data["schema"] != 1:
            self.bad(("schema",), f"schema is {data['schema']!r}; this is version 1: schema: 1", "VALID-004")

    def _name(self, data: dict[Any, Any]) -> str:
        name = data.get("name")
        if isinstance(name, str) and _NAME.fullmatch(name):
            return name
        if name is None:
            self.bad((), "field 'name' is missing", "VALID-002")
        else:
            rule = "lower-case letters, digits and dashes, starting with a letter or digit"
            self.bad(("name",), f"name {name!r} is not allowed; use {rule}{at_most(name)}", "VALID-002")
        return ""

    def _version(self, data: dict[Any, Any]) -> str:
        version = str(data.get("version", ""))
        if not _VERSION.fullmatch(version):
            found = repr(data["version"]) if "version" in data else "missing"
            why = f"version is {found}; three numbers are wanted, such as 0.1.0"
            self.bad(("version",), why, "VALID-003")
        return version

    def _text(self, data: dict[Any, Any], key: str) -> str:
        value = data.get(key)
        if isinstance(value, str) and value.strip():
            return value
        self.bad((key,), f"{key} must be text that is not blank", "VALID-001")
        return ""

    def _author(self, author: object) -> dict[str, str] | None:
        if author is None:
            return None
        if isinstance(author, dict) and all(isinstance(x, str) for pair in author.items() for x in pair):
            return author
        self.bad(("author",), "author is a mapping of text, such as author: {name: Ada}", "VALID-001")
        return None

    # -- component lists, dependencies, checks, secrets ------------------------------------------------

    def _component_lists(self, data: dict[Any, Any]) -> None:
        for key in ("agents", "tools", "hooks", "skills", "workflows", "policies"):
            for number, entry in self.text_list(data.get(key), (key,), "VALID-006"):
                if isinstance(why := self.where_is(entry), str):
                    code = "VALID-020" if key == "workflows" else "VALID-007"
                    self.bad((key, number), f"{key} entry {entry!r} {why}", code)
                if key == "workflows" and not entry.endswith(".py"):
                    self.bad((key, number), f"workflow {entry!r} is no .py file", "VALID-020")

    def _dependencies(self, value: object) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, dict):
            self.bad(("dependencies",), f"dependencies is a mapping, not {kind_of(value)}", "VALID-015")
            return ()
        for key in ("python", "packages", "scripts", "path"):
            for number, entry in self.text_list(value.get(key), ("dependencies", key), "VALID-016"):
                where: Where = ("dependencies", key, number)
                if key == "scripts" and isinstance(why := self.where_is(entry), str):
                    self.bad(where, f"script {entry!r} {why}", "VALID-017")
                elif key == "path" and "\0" in entry:
                    self.bad(where, f"path entry {entry!r} holds a NUL character", "VALID-016")
        paths = value.get("path")
        return tuple(p for p in paths if isinstance(p, str)) if isinstance(paths, list) else ()

    def _checks(self, value: object) -> tuple[CheckDefinition, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            self.bad(("checks",), f"checks is a list, not {kind_of(value)}", "VALID-018")
            return ()
        found = []
        for number, entry in enumerate(value):
            where: Where = ("checks", number)
            if not isinstance(entry, dict):
                self.bad(
                    where, f"a check is a mapping with name and command, not {kind_of(entry)}", "VALID-018"
                )
                continue
            name, command = entry.get("name"), entry.get("command")
            for key in ("name", "command"):
                if not (isinstance(entry.get(key), str) and entry[key].strip()):
                    self.bad((*where, key), f"a check needs {key!r}, as text", "VALID-019")
                else:
                    self.no_nul(entry[key], (*where, key), "VALID-019")
            found.append(CheckDefinition(str(name), str(command)))
        if len(found) > MAX_CHECKS:
            self.bad(("checks",), f"{len(found)} checks; a capability has at most {MAX_CHECKS}", "VALID-018")
        return tuple(found)

    def _secrets(self, value: object) -> None:
        if value is None:
            return
        if not isinstance(value, list):
            self.bad(("secrets",), f"secrets is a list, not {kind_of(value)}", "VALID-001")
            return
        seen: set[str] = set()
        for number, entry in enumerate(value):
            where: Where = ("secrets", number)
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(entry, dict) or not set(entry) <= {"name", "required"}:
                self.bad(where, "a secret is {name, required} and nothing else", "VALID-001")
            elif not (isinstance(name, str) and _SECRET_NAME.fullmatch(name)) or name in seen:
                self.bad(where, f"secret name {name!r} must be a variable name and stand once", "VALID-001")
            seen.add(str(name))

    # -- flags -----------------------------------------------------------------------------------------

    def _flags(self, value: object) -> dict[str, FlagDefinition]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.bad(("flags",), f"flags is a mapping of name to entry, not {kind_of(value)}", "FLAG-001")
            return {}
        if len(value) > MAX_FLAGS:
            self.bad(("flags",), f"{len(value)} flags; a capability has at most {MAX_FLAGS}", "FLAG-005")
        flags = {}
        for name, entry in value.items():
            where: Where = ("flags", str(name))
            if not isinstance(name, str) or not _FLAG_NAME.fullmatch(name):
                rule = "lower-case letters, digits and inner dashes"
                if isinstance(name, bool):
                    rule = "quotes: YAML reads on, off, yes and no as true and false"
                self.bad(
                    (*where, KEY), f"flag name {name!r} is not allowed; use {rule}{at_most(name)}", "FLAG-001"
                )
                continue
            if not isinstance(entry, dict):
                why = f"flag {name!r} is a mapping with a description, not {kind_of(entry)}"
                self.bad(where, why, "FLAG-001")
                continue
            for key in entry.keys() - {"description", "default"}:
                self.bad((*where, str(key), KEY), f"flag {name!r} has the unknown key {key!r}", "FLAG-004")
            description, default = entry.get("description"), entry.get("default", False)
            if not (isinstance(description, str) and description.strip()):
                self.bad((*where, "description"), f"flag {name!r} needs a description", "FLAG-002")
            if not isinstance(default, bool):
                why = f"flag {name!r}: default is true or false, not {default!r}"
                self.bad((*where, "default"), why, "FLAG-002")
            flags[name] = FlagDefinition(name, str(description), default is True)
        return flags

    # -- workers ---------------------------------------------------------------------------------------

    def _workers(self, value: object, flags: dict[str, FlagDefinition]) -> dict[str, WorkerDefinition]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.bad(("workers",), f"workers is a mapping of name to entry, not {kind_of(value)}", "WRK-001")
            return {}
        workers: dict[str, WorkerDefinition] = {}
        files: dict[Path, str] = {}
        for name, entry in value.items():
            where: Where = ("workers", str(name))
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                rule = "lower-case letters, digits and dashes"
                self.bad(
                    (*where, KEY),
                    f"worker name {name!r} is not allowed; use {rule}{at_most(name)}",
                    "WRK-001",
                )
            elif not isinstance(entry, dict):
                why = f"worker {name!r} is a mapping with path or command, not {kind_of(entry)}"
                self.bad(where, why, "WRK-001")
            else:
                worker = self._worker(name, entry, where, flags)
                workers[name] = worker
                if worker.path is not None:
                    if worker.path in files:
                        other = files[worker.path]
                        self.bad(
                            (*where, "path"), f"workers {other!r} and {name!r} have the same file", "WRK-002"
                        )
                    files[worker.path] = name
        return workers

    def _worker(
        self, name: str, entry: dict[Any, Any], where: Where, flags: dict[str, FlagDefinition]
    ) -> WorkerDefinition:
        for key in entry.keys() - set(_WORKER_KEYS):
            allowed = ", ".join(_WORKER_KEYS)
            self.bad(
                (*where, str(key), KEY),
                f"worker {name!r} has the unknown key {key!r}; allowed: {allowed}",
                "WRK-001",
            )
        when, problem = self._when(name, entry, where, flags)
        if "path" in entry and "command" in entry:
            self.bad(
                where, f"worker {name!r} has path and command; the topology is one or the other", "WTOP-004"
            )
        elif "path" in entry:
            return WorkerDefinition(
                name, path=self._worker_path(name, entry, where), when=when, problem=problem
            )
        elif "command" in entry:
            command, args, env = self._worker_command(name, entry, where)
            return WorkerDefinition(name, command=command, args=args, env=env, when=when, problem=problem)
        else:
            self.bad(where, f"worker {name!r} has neither path nor command", "WRK-001")
        return WorkerDefinition(name)

    def _worker_path(self, name: str, entry: dict[Any, Any], where: Where) -> Path | None:
        for key in ("args", "env"):
            if key in entry:
                message = f"worker {name!r} runs in-process by its path; {key!r} needs a command"
                self.bad((*where, key, KEY), message, "WTOP-004")
        path = entry["path"]
        if not isinstance(path, str) or not path:
            self.bad((*where, "path"), f"worker {name!r}: path must be text, not {path!r}", "WRK-001")
            return None
        place = self.where_is(path)
        if isinstance(place, str):
            self.bad((*where, "path"), f"worker {name!r}: path {path!r} {place}", "WRK-004")
            return None
        return place

    def _worker_command(
        self, name: str, entry: dict[Any, Any], where: Where
    ) -> tuple[str, tuple[str, ...], dict[str, str]]:
        command, args, env = entry["command"], entry.get("args", []), entry.get("env", {})
        if not isinstance(command, str) or not command:
            self.bad(
                (*where, "command"), f"worker {name!r}: command must be text, not {command!r}", "WTOP-004"
            )
            command = ""
        if not isinstance(args, list) or not all(isinstance(a, str) for a in args):
            numbers = enumerate(args) if isinstance(args, list) else ()
            spot = next(((*where, "args", n) for n, a in numbers if not isinstance(a, str)), (*where, "args"))
            self.bad(spot, f"worker {name!r}: args is a list of text; quote numbers", "WTOP-004")
            args = []
        if not isinstance(env, dict) or not all(isinstance(x, str) for pair in env.items() for x in pair):
            pairs = env.items() if isinstance(env, dict) else ()
            key = next((k for k, v in pairs if not (isinstance(k, str) and isinstance(v, str))), None)
            at: Where = (*where, "env") if key is None else (*where, "env", str(key))
            self.bad(at, f"worker {name!r}: env is a mapping of text to text; quote numbers", "WTOP-004")
            env = {}
        self.command_texts(command, args, env, where)
        if taken := sorted(set(AUTHORITATIVE) & set(env)):
            message = f"worker {name!r}: env sets {', '.join(taken)}, which the runtime alone sets"
            self.bad((*where, "env", taken[0], KEY), message, "WTOP-006")
        return (
            self._rooted(command),
            tuple(map(self._rooted, args)),
            {k: self._rooted(v) for k, v in env.items()},
        )

    def _when(
        self, name: str, entry: dict[Any, Any], where: Where, flags: dict[str, FlagDefinition]
    ) -> tuple[tuple[str, ...], str | None]:
        """Return the gate, and why this worker cannot be gated; that drops the worker, not the capability."""
        when = entry.get("when")
        if when is None:
            return (), None
        prefix = f"{self.position((*where, 'when'))}: worker {name!r}: when"
        if not isinstance(when, list) or not when or not all(isinstance(flag, str) for flag in when):
            return (), f"{prefix} is a list of flag names with at least one entry [CAP-FLAG-080]"
        if unknown := [flag for flag in when if flag not in flags]:
            declared = ", ".join(flags) or "none"
            names = ", ".join(unknown)
            why = shown(f"names undeclared flag {names}; declared: {declared}")
            return tuple(when), f"{prefix} {why} [CAP-FLAG-012]"
        return tuple(when), None

    def _rooted(self, text: str) -> str:
        return text.replace(ROOT_REFERENCE, str(self.root))
