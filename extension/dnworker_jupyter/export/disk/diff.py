"""What an export would change for those who run it, and which step of its version that is."""

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
from dnworker.core.handlers import DECORATORS, HandlerKey
from dnworker.core.schedule import make_schedule

Step = Literal["major", "minor", "patch"]
_ORDER: dict[Step, int] = {"patch": 0, "minor": 1, "major": 2}
_BOUNDS = re.compile(r"[<>=!~].*")
_HEADER = re.compile(r"^# /// script\n((?:#.*\n)+?)# ///$", re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """One change; `sign` is `+`, `-` or `~`."""

    step: Step
    sign: str
    text: str

    def __str__(self) -> str:
        return f"{self.sign} {self.text}"


@dataclass(frozen=True)
class CapabilityDiff:
    """All changes from one export to another."""

    changes: tuple[Change, ...]
    before: str
    after: str

    @property
    def step(self) -> Step | None:
        """The step that the version should take; None where nothing changed."""
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


def compare(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> CapabilityDiff:
    """Return what changed between two exports, as their files.

    Raises:
        ManifestError: the manifest of one breaks a rule.
        UsageError: a script of one is no Python.
    """
    before, after = _manifest(old), _manifest(new)
    workers = _workers(before, old), _workers(after, new)
    changes = [*_of_head(before, after), *_of_flags(before, after), *_of_workers(*workers)]
    told = {  # of workers that came or went
        worker.path
        for side in workers
        for name, worker in side.items()
        if name in workers[0].keys() ^ workers[1].keys()
    }
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path) and path != MANIFEST_NAME and path not in told:
            sign = "~" if path in old and path in new else "+" if path in new else "-"
            changes.append(Change("patch", sign, path))
    if before.name != after.name:
        changes.insert(0, Change("major", "~", f"the name: {before.name} -> {after.name}"))
    if not changes and old.get(MANIFEST_NAME) != new.get(MANIFEST_NAME) and before.version == after.version:
        changes.append(Change("patch", "~", MANIFEST_NAME))  # its comments, or its order
    return CapabilityDiff(tuple(changes), before.version, after.version)


def _manifest(files: Mapping[str, bytes]) -> CapabilityManifest:
    return parse_manifest(files[MANIFEST_NAME].decode(), Path("/"), source=MANIFEST_NAME)


def _workers(manifest: CapabilityManifest, files: Mapping[str, bytes]) -> dict[str, _Worker]:
    found = {}
    for name, definition in manifest.workers.items():
        worker = found[name] = _Worker(definition)
        named = {word.lstrip("/") for word in (str(definition.path or ""), *definition.args)}
        worker.path = next((p for p in files if p in named), None)  # of a manifest that is said to be in /
        if worker.path is not None and worker.path.endswith(".py"):
            script = files[worker.path].decode()
            worker.handlers = handlers_of(script, worker.path, texts_of(files))
            worker.requirements = requirements_of(script)
    return found


def texts_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the texts that modules of an export give a name at their top level: scripts import them."""
    found: dict[str, str] = {}
    for path, data in files.items():
        if path.endswith(".py"):
            with contextlib.suppress(
                SyntaxError, ValueError
            ):  # what is a script is read again, and told then
                found |= _texts(ast.parse(data), found)
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
    """Return the text that an expression spells, by names of others and f-strings too."""
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


def handlers_of(
    script: str, path: str = "the script", texts: Mapping[str, str] | None = None
) -> list[HandlerKey]:
    """Return the handlers that a script registers by decorators at its top level.

    Args:
        script: its text.
        path: what errors call it.
        texts: those that other modules give a name.

    Raises:
        UsageError: it is no Python; says where.
    """
    try:
        tree = ast.parse(script)
    except SyntaxError as exc:
        raise UsageError(f"{path}, line {exc.lineno}: is no Python: {exc.msg}") from exc
    known = _texts(tree, texts or {})
    return [
        HandlerKey(call.attr, _registered_for(decorator, known), node.name)
        for node in tree.body
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
        for decorator in reversed(node.decorator_list)  # in which order they register
        if isinstance(call := decorator.func if isinstance(decorator, ast.Call) else decorator, ast.Attribute)
        and call.attr in DECORATORS
    ]


def _registered_for(decorator: ast.expr, texts: Mapping[str, str]) -> str:
    """Return the kind or the schedule: what it comes to where it is spelled out, else its source."""
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
    """Return what a script says of its environment (PEP 723); nothing where it says nothing, or no TOML."""
    match = _HEADER.search(script)
    if match is None:
        return {}
    try:
        return tomllib.loads("\n".join(line[2:] for line in match[1].splitlines()))
    except tomllib.TOMLDecodeError:
        return {}


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


def _of_head(before: CapabilityManifest, after: CapabilityManifest) -> Iterator[Change]:
    """Tell of all that stands in the manifest beside its version, its flags and its workers."""
    own = {"schema", "name", "version", "flags", "workers"}
    for key in sorted((before.raw.keys() | after.raw.keys()) - own):
        was, now = before.raw.get(key), after.raw.get(key)
        if was != now:
            yield Change("patch", "+" if was is None else "-" if now is None else "~", key)


def _of_flags(before: CapabilityManifest, after: CapabilityManifest) -> Iterator[Change]:
    yield from _of_names("flag", before.flags, after.flags)
    for name in sorted(before.flags.keys() & after.flags.keys()):
        was, now = before.flags[name], after.flags[name]
        if was.default != now.default:
            yield Change("major", "~", f"flag {name}: {'on' if now.default else 'off'} by default")
        elif was != now:
            yield Change("patch", "~", f"flag {name}: its description")


def _of_names(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[Change]:
    """Tell which names went and which came."""
    for name in before:
        if name not in after:
            yield Change("major", "-", f"{what} {name}")
    for name in after:
        if name not in before:
            yield Change("minor", "+", f"{what} {name}")


def _of_workers(before: dict[str, _Worker], after: dict[str, _Worker]) -> Iterator[Change]:
    yield from _of_names("worker", before, after)
    for name in after:
        if name in before:
            yield from _of_handlers(name, before[name].handlers, after[name].handlers)
            yield from _of_surroundings(name, before[name], after[name])


def _of_handlers(name: str, before: list[HandlerKey], after: list[HandlerKey]) -> Iterator[Change]:
    def shown(handler: HandlerKey) -> str:
        return " ".join([f"{name}:", *filter(None, handler[:2]), f"({handler[2]})"])

    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    for old in list(gone.elements()):
        renamed = next((new for new in come if new[:2] == old[:2] and come[new]), None)
        moved = next((new for new in come if old[0] == "every" and new[::2] == old[::2] and come[new]), None)
        new = renamed or moved
        if new is None:
            heard = any(other[:2] == old[:2] for other in after)
            yield Change(
                "major" if old[0] in ("on_event", "every") and not heard else "minor", "-", shown(old)
            )
            continue
        come[new] -= 1
        if renamed is not None:
            yield Change("patch", "~", f"{shown(old)} -> {new[2]}")
        else:
            yield Change("minor", "~", f"{shown(old)} -> {new[1]}")
    for new in come.elements():
        yield Change("minor", "+", shown(new))


def _of_surroundings(name: str, before: _Worker, after: _Worker) -> Iterator[Change]:
    was, now = before.definition, after.definition
    yield from _of_names(f"{name}: env", was.env, now.env)
    for key in sorted(was.env.keys() & now.env.keys()):
        if was.env[key] != now.env[key]:
            yield Change("minor", "~", f"{name}: env {key}")  # the value may be nobody's business
    if was.when != now.when:
        gates = f"{' or '.join(was.when) or 'none'} -> {' or '.join(now.when) or 'none'}"
        yield Change("major", "~", f"{name}: gate {gates}")
    if (was.command, was.path is None) != (now.command, now.path is None):
        how = f"{now.command or 'in-process'}, not {was.command or 'in-process'}"
        yield Change("minor", "~", f"{name}: runs as {how}")
    elif _words(before) != _words(after):
        args = f"{shlex.join(_words(before)) or 'none'} -> {shlex.join(_words(after)) or 'none'}"
        yield Change("minor", "~", f"{name}: args {args}")
    for key in sorted(before.requirements.keys() | after.requirements.keys()):
        old, new = before.requirements.get(key), after.requirements.get(key)
        if new is None:
            yield Change("patch", "-", f"{name}: requires {key}")
        elif old is None:
            yield Change("minor", "+", f"{name}: requires {key}{new}")
        elif old != new:
            yield Change("patch", "~", f"{name}: requires {key}{new}, not {old}")


def _words(worker: _Worker) -> list[str]:
    """Return a worker's arguments without the path of its file, of which the files tell."""
    return [word for word in worker.definition.args if not (worker.path and word.endswith(f"/{worker.path}"))]
