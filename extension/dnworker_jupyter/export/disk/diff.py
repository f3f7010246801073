"""Finds what changes between two exports, and the version step of that; for export.py and importer."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dnworker.capability.manifest import (
    MANIFEST_NAME,
    CapabilityManifest,
    WorkerDefinition,
    parse_manifest,
)
from dnworker.core.errors import UsageError
from dnworker.core.handlers import DECORATORS, HandlerKey, numbered
from dnworker.core.parsing import parse
from dnworker.core.schedule import make_schedule

Step = Literal["major", "minor", "patch"]
_ORDER: dict[Step, int] = {"patch": 0, "minor": 1, "major": 2}
_BOUNDS = re.compile(r"[<>=!~].*")
LONGEST_HEADER = 20_000
"""Characters of the metadata of a script; dotted keys of many take quadratic time to read."""


@dataclass(frozen=True)
class CapabilityChange:
    """One change: added (`+`), removed (`-`) or changed (`~`)."""

    step: Step
    sign: str
    text: str

    def __str__(self) -> str:
        return f"{self.sign} {self.text}"


@dataclass(frozen=True)
class CapabilityDiff:
    """All changes from one export to another."""

    changes: tuple[CapabilityChange, ...]
    before: str
    after: str

    @property
    def step(self) -> Step | None:
        """The largest step that a change needs; None where nothing changed."""
        return max((c.step for c in self.changes), key=_ORDER.__getitem__, default=None)

    @property
    def suggested(self) -> str | None:
        """The version that the step leads to."""
        if self.step is None:
            return None
        major, minor, patch = map(int, self.before.split("."))
        steps = {
            "major": (major + 1, 0, 0),
            "minor": (major, minor + 1, 0),
            "patch": (major, minor, patch + 1),
        }
        return ".".join(map(str, steps[self.step]))

    def __str__(self) -> str:
        if self.suggested is None:
            return "nothing changed since the last export"
        lines = [str(change) for change in self.changes]
        declared = tuple(map(int, self.after.split(".")))
        if declared >= tuple(map(int, self.suggested.split("."))):
            lines.append(f"a {self.step} change; version {self.after} is declared, which says so")
        else:
            lines.append(
                f"a {self.step} change: {self.before} -> {self.suggested}; %%capability declares {self.after}"
            )
        return "\n".join(lines)


@dataclass
class _Worker:
    definition: WorkerDefinition
    handlers: list[HandlerKey] = field(default_factory=list)
    requirements: dict[str, str] = field(default_factory=dict)
    path: str | None = None


def diff_files(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> CapabilityDiff:
    """Return what changed between two exports, as their files.

    Raises:
        ManifestError: the manifest of one breaks a rule.
        UsageError: a script of one is not valid Python.
    """
    before, after = _manifest(old), _manifest(new)
    workers = _workers(before, old), _workers(after, new)
    changes = [*_head_changes(before, after), *_flag_changes(before, after), *_worker_changes(*workers)]
    covered = {  # by the lines about workers that were added or removed
        worker.path
        for side in workers
        for name, worker in side.items()
        if name in workers[0].keys() ^ workers[1].keys()
    }
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path) and path != MANIFEST_NAME and path not in covered:
            sign = "~" if path in old and path in new else "+" if path in new else "-"
            changes.append(CapabilityChange("patch", sign, path))
    if before.name != after.name:
        changes.insert(0, CapabilityChange("major", "~", f"the name: {before.name} -> {after.name}"))
    if not changes and old.get(MANIFEST_NAME) != new.get(MANIFEST_NAME) and before.version == after.version:
        changes.append(CapabilityChange("patch", "~", MANIFEST_NAME))  # only comments or the order changed
    return CapabilityDiff(tuple(changes), before.version, after.version)


def _manifest(files: Mapping[str, bytes]) -> CapabilityManifest:
    return parse_manifest(files[MANIFEST_NAME].decode(), Path("/"), source=MANIFEST_NAME)


def _workers(manifest: CapabilityManifest, files: Mapping[str, bytes]) -> dict[str, _Worker]:
    found = {}
    for name, definition in manifest.workers.items():
        worker = found[name] = _Worker(definition)
        named = {word.lstrip("/") for word in (str(definition.path or ""), *definition.args)}
        worker.path = next((p for p in files if p in named), None)  # the manifest was parsed as one in /
        if worker.path is not None and worker.path.endswith(".py"):
            script = files[worker.path].decode()
            worker.handlers = handlers_in_script(script, worker.path, texts_of(files))
            worker.requirements = requirements_of(script)
    return found


def texts_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the texts that modules of an export bind at their top level, by name: scripts import them."""
    found: dict[str, str] = {}
    for path, data in files.items():
        if path.endswith(".py"):
            with contextlib.suppress(SyntaxError, ValueError):  # handlers_in_script raises for scripts
                found |= _texts(parse(data), found)
    return found


def _texts(tree: ast.Module, known: Mapping[str, str]) -> dict[str, str]:
    found = dict(known)
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        if (text := _text(value, found)) is not None:
            found[name] = text
    return found


def _text(node: ast.expr, texts: Mapping[str, str]) -> str | None:
    """Return the text of an expression; names of known texts, `+` and f-strings are followed."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.Name(id=name):
            return texts.get(name)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = [_text(left, texts), _text(right, texts)]
        case ast.JoinedStr(values=values):
            parts = [_text(value, texts) for value in values]
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            return _text(value, texts)
        case _:
            return None
    return None if None in parts else "".join(map(str, parts))


def handlers_in_script(
    script: str, path: str = "the script", texts: Mapping[str, str] | None = None
) -> list[HandlerKey]:
    """Return the handlers that a script registers by decorators at its top level.

    Args:
        script: its text.
        path: what errors call it.
        texts: the texts that other modules bind, by name.

    Raises:
        UsageError: the script is not valid Python; names the line.
    """
    try:
        tree = parse(script)
    except SyntaxError as exc:
        raise UsageError(f"{path}, line {exc.lineno}: is no Python: {exc.msg}", code="DN506") from exc
    known = _texts(tree, texts or {})
    found = (
        HandlerKey(call.attr, _trigger_of(decorator, known), node.name)
        for node in tree.body
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
        for decorator in reversed(node.decorator_list)  # the order in which they register
        if isinstance(call := decorator.func if isinstance(decorator, ast.Call) else decorator, ast.Attribute)
        and call.attr in DECORATORS
    )
    return [*numbered(found)]


def _trigger_of(decorator: ast.expr, texts: Mapping[str, str]) -> str:
    """Return the kind or the schedule of a decorator; its source where the value is not a literal."""
    if not isinstance(decorator, ast.Call):
        return ""
    try:
        if decorator.args and (kind := _text(decorator.args[0], texts)) is not None:
            return kind
        named = {k.arg: _value(k.value, texts) for k in decorator.keywords if k.arg is not None}
        return make_schedule(**named).label
    except (ValueError, TypeError):
        return ", ".join(map(ast.unparse, [*decorator.args, *decorator.keywords]))


def _value(node: ast.expr, texts: Mapping[str, str]) -> Any:
    text = _text(node, texts)
    return ast.literal_eval(node) if text is None else text


def header_of(script: str) -> dict[str, Any]:
    """Return the metadata of a script (PEP 723); empty where it has none, or none that is TOML."""
    lines = header_lines(script)
    text = "\n".join(line[2:] for line in lines or ())
    try:
        return tomllib.loads(text) if len(text) <= LONGEST_HEADER else {}
    except (ValueError, RecursionError):  # a number of 5,000 digits is no TOMLDecodeError
        return {}


def header_lines(script: str) -> list[str] | None:
    """Return the lines of a script's metadata (PEP 723), each with its `#`; None where it has none."""
    began: int | None = None
    lines = script.split("\n")
    for number, line in enumerate(lines):
        if began is None:
            began = number if line == "# /// script" else None
        elif line == "# ///" and number > began + 1:
            return lines[began + 1 : number]
        elif not line.startswith("#"):
            began = None
    return None


def requirements_of(script: str) -> dict[str, str]:
    """Return the bounds of a script's requirements, by name (PEP 723)."""
    found: dict[str, str] = {}
    for line in header_of(script).get("dependencies", []):
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        bounds = _BOUNDS.search(line)
        found[canonicalize_name(requirement.name)] = extras + (bounds[0] if bounds else "")
    return found


def _head_changes(before: CapabilityManifest, after: CapabilityManifest) -> Iterator[CapabilityChange]:
    """Return changes of all keys of the manifest but its version, flags and workers."""
    own = {"schema", "name", "version", "flags", "workers"}
    for key in sorted((before.raw.keys() | after.raw.keys()) - own):
        was, now = before.raw.get(key), after.raw.get(key)
        if was != now:
            yield CapabilityChange("patch", "+" if was is None else "-" if now is None else "~", key)


def _flag_changes(before: CapabilityManifest, after: CapabilityManifest) -> Iterator[CapabilityChange]:
    yield from _name_changes("flag", before.flags, after.flags)
    for name in sorted(before.flags.keys() & after.flags.keys()):
        was, now = before.flags[name], after.flags[name]
        if was.default != now.default:
            yield CapabilityChange("major", "~", f"flag {name}: {'on' if now.default else 'off'} by default")
        elif was != now:
            yield CapabilityChange("patch", "~", f"flag {name}: its description")


def _name_changes(
    label: str, before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[CapabilityChange]:
    """Return which names were removed and which were added."""
    for name in before:
        if name not in after:
            yield CapabilityChange("major", "-", f"{label} {name}")
    for name in after:
        if name not in before:
            yield CapabilityChange("minor", "+", f"{label} {name}")


def _worker_changes(before: dict[str, _Worker], after: dict[str, _Worker]) -> Iterator[CapabilityChange]:
    yield from _name_changes("worker", before, after)
    for name in after:
        if name in before:
            yield from _handler_changes(name, before[name].handlers, after[name].handlers)
            yield from _entry_changes(name, before[name], after[name])


def _handler_changes(
    name: str, before: list[HandlerKey], after: list[HandlerKey]
) -> Iterator[CapabilityChange]:
    removed, added = Counter(before) - Counter(after), Counter(after) - Counter(before)
    triggers = {_trigger(handler) for handler in after}
    for old in list(removed.elements()):
        left = list(added.elements())
        if (renamed := next((new for new in left if _trigger(new) == _trigger(old)), None)) is not None:
            added[renamed] -= 1
            yield CapabilityChange("patch", "~", f"{_shown(name, old)} -> {renamed.name}")
        elif (moved := next((new for new in left if _is_rescheduled(old, new)), None)) is not None:
            added[moved] -= 1
            yield CapabilityChange("minor", "~", f"{_shown(name, old)} -> {moved.trigger}")
        else:
            is_missed = old.decorator in ("on_event", "every") and _trigger(old) not in triggers
            yield CapabilityChange("major" if is_missed else "minor", "-", _shown(name, old))
    for new in added.elements():
        yield CapabilityChange("minor", "+", _shown(name, new))


def _trigger(handler: HandlerKey) -> tuple[str, str]:
    return handler.decorator, handler.trigger


def _is_rescheduled(old: HandlerKey, new: HandlerKey) -> bool:
    return old.decorator == new.decorator == "every" and old.name == new.name


def _shown(worker: str, handler: HandlerKey) -> str:
    return " ".join([f"{worker}:", *filter(None, _trigger(handler)), f"({handler.name})"])


def _entry_changes(name: str, before: _Worker, after: _Worker) -> Iterator[CapabilityChange]:
    was, now = before.definition, after.definition
    yield from _name_changes(f"{name}: env", was.env, now.env)
    for key in sorted(was.env.keys() & now.env.keys()):
        if was.env[key] != now.env[key]:
            yield CapabilityChange(
                "minor", "~", f"{name}: env {key}"
            )  # without the value, which may be a secret
    if was.when != now.when:
        gates = f"{' or '.join(was.when) or 'none'} -> {' or '.join(now.when) or 'none'}"
        yield CapabilityChange("major", "~", f"{name}: gate {gates}")
    if (was.command, was.path is None) != (now.command, now.path is None):
        how = f"{now.command or 'in-process'}, not {was.command or 'in-process'}"
        yield CapabilityChange("minor", "~", f"{name}: runs as {how}")
    elif _words(before) != _words(after):
        args = f"{shlex.join(_words(before)) or 'none'} -> {shlex.join(_words(after)) or 'none'}"
        yield CapabilityChange("minor", "~", f"{name}: args {args}")
    for key in sorted(before.requirements.keys() | after.requirements.keys()):
        old, new = before.requirements.get(key), after.requirements.get(key)
        if new is None:
            yield CapabilityChange("patch", "-", f"{name}: requires {key}")
        elif old is None:
            yield CapabilityChange("minor", "+", f"{name}: requires {key}{new}")
        elif old != new:
            yield CapabilityChange("patch", "~", f"{name}: requires {key}{new}, not {old}")


def _words(worker: _Worker) -> list[str]:
    """Return a worker's arguments without the path of its file, which the list of files has."""
    return [word for word in worker.definition.args if not (worker.path and word.endswith(f"/{worker.path}"))]
