"""What an export would change for those who run it, and which step of its version that is."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dnworker.capability.manifest import MANIFEST_NAME, CapabilityManifest, WorkerDefinition, parse_manifest
from dnworker_jupyter.transform import DECORATORS

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
class Difference:
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
    handlers: dict[tuple[str, str], str] = field(default_factory=dict)
    """What each handler is registered for, by decorator and function name."""
    requirements: dict[str, str] = field(default_factory=dict)
    path: str | None = None


def compare(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> Difference:
    """Return what changed between two exports, as their files.

    Raises:
        ManifestError: the manifest of one breaks a rule.
    """
    before, after = _manifest(old), _manifest(new)
    workers = _workers(before, old), _workers(after, new)
    changes = [*_of_flags(before, after), *_of_workers(*workers)]
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
        changes.append(Change("patch", "~", MANIFEST_NAME))
    return Difference(tuple(changes), before.version, after.version)


def _manifest(files: Mapping[str, bytes]) -> CapabilityManifest:
    return parse_manifest(files[MANIFEST_NAME].decode(), Path("/"), source=MANIFEST_NAME)


def _workers(manifest: CapabilityManifest, files: Mapping[str, bytes]) -> dict[str, _Worker]:
    found = {}
    for name, definition in manifest.workers.items():
        worker = found[name] = _Worker(definition)
        named = [str(definition.path or ""), *definition.args]
        worker.path = next((p for p in files if any(n.endswith(f"/{p}") for n in named)), None)
        if worker.path is not None and worker.path.endswith(".py"):
            script = files[worker.path].decode()
            worker.handlers, worker.requirements = handlers_of(script), requirements_of(script)
    return found


def handlers_of(script: str) -> dict[tuple[str, str], str]:
    """Return what each handler of a script is registered for, by decorator and function name."""
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(script).body:
        if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(call, ast.Attribute) and call.attr in DECORATORS:
                given = [*decorator.args, *decorator.keywords] if isinstance(decorator, ast.Call) else []
                what = ", ".join(ast.literal_eval(a) if _is_text(a) else ast.unparse(a) for a in given)
                found[call.attr, f"{node.name} {what}" if call.attr == "on_event" else node.name] = what
    return found


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


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


def _of_flags(before: CapabilityManifest, after: CapabilityManifest) -> Iterator[Change]:
    for name in before.flags.keys() - after.flags.keys():
        yield Change("major", "-", f"flag {name}")
    for name in after.flags.keys() - before.flags.keys():
        yield Change("minor", "+", f"flag {name}")
    for name in sorted(before.flags.keys() & after.flags.keys()):
        was, now = before.flags[name].default, after.flags[name].default
        if was != now:
            yield Change("major", "~", f"flag {name}: {'on' if now else 'off'} by default")


def _of_workers(before: dict[str, _Worker], after: dict[str, _Worker]) -> Iterator[Change]:
    for name in before:
        if name not in after:
            yield Change("major", "-", f"worker {name}")
    for name, worker in after.items():
        if name not in before:
            yield Change("minor", "+", f"worker {name}")
        else:
            yield from _of_handlers(name, before[name], worker)
            yield from _of_surroundings(name, before[name], worker)


def _of_handlers(name: str, before: _Worker, after: _Worker) -> Iterator[Change]:
    def shown(key: tuple[str, str], what: str) -> str:
        return f"{name}: {key[0]} {what}".rstrip() + f" ({key[1].partition(' ')[0]})"

    for key in before.handlers:
        if key not in after.handlers:
            step: Step = "major" if key[0] in ("on_event", "every") else "minor"
            yield Change(step, "-", shown(key, before.handlers[key]))
    for key, what in after.handlers.items():
        if key not in before.handlers:
            yield Change("minor", "+", shown(key, what))
        elif before.handlers[key] != what:
            yield Change("minor", "~", f"{shown(key, before.handlers[key])} -> {what}")


def _of_surroundings(name: str, before: _Worker, after: _Worker) -> Iterator[Change]:
    was, now = before.definition, after.definition
    for key in sorted(was.env.keys() - now.env.keys()):
        yield Change("major", "-", f"{name}: env {key}")
    for key in sorted(now.env.keys() - was.env.keys()):
        yield Change("minor", "+", f"{name}: env {key}")
    for key in sorted(was.env.keys() & now.env.keys()):
        if was.env[key] != now.env[key]:
            yield Change("minor", "~", f"{name}: env {key}")  # the value may be nobody's business
    if was.when != now.when:
        yield Change(
            "major",
            "~",
            f"{name}: gate {' or '.join(was.when) or 'none'} -> {' or '.join(now.when) or 'none'}",
        )
    if (was.command, was.path is None) != (now.command, now.path is None):
        yield Change(
            "minor", "~", f"{name}: runs as {now.command or 'in-process'}, not {was.command or 'in-process'}"
        )
    for key in sorted(before.requirements.keys() - after.requirements.keys()):
        yield Change("patch", "-", f"{name}: requires {key}")
    for key in sorted(after.requirements.keys() - before.requirements.keys()):
        yield Change("minor", "+", f"{name}: requires {key}{after.requirements[key]}")
    for key in sorted(before.requirements.keys() & after.requirements.keys()):
        if before.requirements[key] != after.requirements[key]:
            yield Change(
                "patch",
                "~",
                f"{name}: requires {key}{after.requirements[key]}, not {before.requirements[key]}",
            )
