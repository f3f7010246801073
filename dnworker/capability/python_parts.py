"""Lists the tools, hooks and policies of Python files without running them; components use it.

The reference imports these files and looks at what their names hold. Here the same is read from the text, so
that a listing needs neither the SDK nor what the files import, and runs nobody's code.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from dnworker.capability.python_modules import Modules, called, constant, decorators
from dnworker.capability.reading import shown
from dnworker.core.models import ComponentInfo

PartKind = Literal["tool", "hook", "policy"]

NOT_RUN = "needs the reference runtime; this one runs workers, agents, skills and MCP servers"
NOT_OFFERED = "is written for the SDK, which this runtime does not load; offer it by an MCP server instead"

_POLICIES = {"HeadlessSessionPolicy": "headless", "InteractiveSessionPolicy": "interactive"}
"""The names that policies of the SDK have."""


class _Part(msgspec.Struct, frozen=True):
    """One tool, hook or policy; `origin` tells two of one name apart, and sees one that is imported again."""

    name: str
    origin: tuple[Path, str]
    problem: str | None = None


def python_parts(kind: PartKind, files: list[Path], root: Path) -> list[ComponentInfo]:
    """Return the entries of the files of one kind; a duplicate, and a file without any, say so."""
    modules = Modules(root)
    find: Callable[[Path], tuple[list[_Part], bool]] = _finders(modules)[kind]
    found: list[ComponentInfo] = []
    seen: set[str] = set()
    origins: set[tuple[Path, str]] = set()
    for file in files:
        if (problem := modules.problem(file)) is not None:
            found.append(ComponentInfo(kind=kind, name=shown(file.stem), status="error", error=problem))
            continue
        try:
            parts, has_some = find(file)
        except RecursionError:
            why = f"{shown(file.name)}: is nested too deep to be read"
            found.append(ComponentInfo(kind=kind, name=shown(file.stem), status="error", error=why))
            continue
        for part in parts:
            if part.origin in origins:
                continue
            found.append(_entry(kind, part, seen, file))
            if part.problem is None:
                origins.add(part.origin)
                seen.add(part.name)
        if not has_some and not any(p.startswith("_") for p in file.relative_to(root).parts):
            why = f"{file.name} defines no {kind}; a leading underscore marks a module of helpers"
            found.append(_dropped(kind, file.stem, why))
    return found


def _entry(kind: str, part: _Part, seen: set[str], file: Path) -> ComponentInfo:
    if part.problem is not None:
        status = "error" if kind == "tool" else "degraded"
        error = shown(f"{file.name}: {part.problem}")
        return ComponentInfo(kind=kind, name=shown(part.name), status=status, error=error)
    if part.name in seen:
        return _dropped(kind, part.name, f"{file.name}: another {kind} is called {part.name!r}; rename one")
    return ComponentInfo(
        kind=kind, name=shown(part.name), status="ok", detail=NOT_OFFERED if kind == "tool" else NOT_RUN
    )


def _dropped(kind: str, name: str, error: str) -> ComponentInfo:
    return ComponentInfo(kind=kind, name=shown(name), status="degraded", error=shown(error))


def _finders(modules: Modules) -> dict[PartKind, Callable[[Path], tuple[list[_Part], bool]]]:
    toolsets = _Toolsets(modules)
    return {
        "tool": toolsets.find,
        "hook": lambda file: _hooks(modules, file),
        "policy": lambda file: _policies(modules, file),
    }


# -- hooks -------------------------------------------------------------------------------------------------


def _hooks(modules: Modules, file: Path) -> tuple[list[_Part], bool]:
    parts = []
    for home, bound, node in modules.names(file):
        name = _decorated(modules, home, node, "hook") or _made(modules, home, node, "hook")
        if name is not None:
            parts.append(_Part(name, (home, bound)))
    return parts, bool(parts)


def _decorated(modules: Modules, file: Path, node: ast.AST, decorator: str) -> str | None:
    """Return the name that a decorated function has as a component; None for anything else."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    for name, call in decorators(node):
        if modules.means(file, name, decorator):
            given = constant(call, "name") if call is not None else None
            return given or node.name
    return None


def _made(modules: Modules, file: Path, node: ast.AST, maker: str) -> str | None:
    """Return the name of `x = tool(f)` and `x = hook(Event)(f)`; None for anything else."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.Call) or not value.args or not isinstance(value.args[0], ast.Name):
        return None
    if maker == "tool" and modules.means(file, called(value.func), maker):
        return constant(value, "name") or value.args[0].id
    if isinstance(value.func, ast.Call) and modules.means(file, called(value.func.func), maker):
        return constant(value.func, "name") or value.args[0].id
    return None


# -- policies ----------------------------------------------------------------------------------------------


def _policies(modules: Modules, file: Path) -> tuple[list[_Part], bool]:
    own = [
        (bound, n) for home, bound, n in modules.names(file) if home == file and isinstance(n, ast.ClassDef)
    ]
    bases = {base.name for _, node in own for _, base in modules.bases(file, node)}
    parts: list[_Part] = []
    has_some = False
    for bound, node in own:
        name = _policy_name(modules, file, node)
        if name is not None:
            parts.append(_Part(f"{bound} (policy={name!r})", (file, name)))
        elif _is_policy(modules, file, node):
            if node.name in bases:
                has_some = True  # the classes that derive from it carry the names
            else:
                parts.append(
                    _Part(bound, (file, bound), f"class {bound} has no name; give it one: name = ...")
                )
    named = [p for p in parts if p.problem is None]
    return _as_policies(parts, named), has_some or bool(parts)


def _as_policies(parts: list[_Part], named: list[_Part]) -> list[_Part]:
    """Return the parts, those of a name that an earlier class of the file has with the reason."""
    first: set[str] = set()
    found = []
    for part in parts:
        if part in named and part.origin[1] in first:
            found.append(_Part(part.name, part.origin, f"another policy is called {part.origin[1]!r}"))
            continue
        first |= {part.origin[1]} if part in named else set()
        found.append(part)
    return found


def _policy_name(modules: Modules, file: Path, node: ast.ClassDef) -> str | None:
    is_model = _is_policy(modules, file, node)
    for _, one in [(file, node), *modules.bases(file, node)]:
        for statement in one.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str(name))) if name:
                    return name
                case ast.AnnAssign(target=ast.Name(id="name"), value=ast.Constant(value=str(name))) if name:
                    if not is_model or "ClassVar" in ast.unparse(statement.annotation):
                        return name
    return next((_POLICIES[b] for b in modules.foreign_bases(file, node) if b in _POLICIES), None)


def _is_policy(modules: Modules, file: Path, node: ast.ClassDef) -> bool:
    return not modules.foreign_bases(file, node).isdisjoint({"SessionPolicy", *_POLICIES})


# -- tools -------------------------------------------------------------------------------------------------


class _Toolsets:
    """Finds tools: functions, and the methods of toolsets, which are made once."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules
        self._made: set[tuple[Path, str]] = set()
        """The classes of which a module makes an object, and the classes that they derive from."""

    def find(self, file: Path) -> tuple[list[_Part], bool]:
        """Return the tools of a file, and whether it has any, its own or imported ones."""
        parts: list[_Part] = []
        has_some = False
        names = list(self._modules.names(file))
        for home, _, node in names:
            self._note_made(home, node)
        for home, bound, node in names:
            tool = _decorated(self._modules, home, node, "tool") or _made(self._modules, home, node, "tool")
            if isinstance(node, ast.alias):
                tool = node.name  # a tool of the SDK's
            if tool is not None:
                has_some = True
                parts.append(_Part(tool, (home, bound)))
            elif (cls := self._instance(home, node)) is not None:
                has_some = True
                parts += self._tools_of(*cls)
            elif isinstance(node, ast.ClassDef) and self._is_toolset(home, node):
                has_some = True
                if (home, node.name) not in self._made:
                    parts += self._made_at_once(home, node)
        return parts, has_some

    def _is_toolset(self, file: Path, node: ast.ClassDef) -> bool:
        return "Toolset" in self._modules.foreign_bases(file, node)

    def _note_made(self, file: Path, node: ast.AST) -> None:
        if (made := self._instance(file, node)) is not None:
            home, cls = made
            self._made |= {(home, cls.name), *((f, n.name) for f, n in self._modules.bases(home, cls))}

    def _instance(self, file: Path, node: ast.AST) -> tuple[Path, ast.ClassDef] | None:
        """Return the class of `x = SomeToolset(...)`; None for anything else."""
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name):
            return None
        found = self._modules.find(file, value.func.id)
        if found is None or not isinstance(found[1], ast.ClassDef) or not self._is_toolset(*found):  # type: ignore[arg-type]
            return None
        return found[0], found[1]

    def _made_at_once(self, file: Path, node: ast.ClassDef) -> list[_Part]:
        if (wanted := _required_arguments(node)) is not None:
            return [_Part(node.name, (file, node.name), f"toolset {node.name} needs {wanted} to be made")]
        return self._tools_of(file, node)

    def _tools_of(self, file: Path, node: ast.ClassDef) -> list[_Part]:
        chain = [(file, node), *self._modules.bases(file, node)]
        variant = next((v for _, one in chain if (v := _variant(one)) is not None), None)
        parts: list[_Part] = []
        seen: set[str] = set()
        for home, one in chain:
            for method in one.body:
                name = _decorated(self._modules, home, method, "tool_method")
                if name is None or method.name in seen:  # type: ignore[attr-defined]
                    continue
                variants = _variants(method)
                if variant is None or not variants or variant in variants:
                    seen.add(method.name)  # type: ignore[attr-defined]
                    # A toolset that is made again has tools of its own, which are duplicates by name.
                    parts.append(_Part(name, (home, f"{node.name}.{one.name}.{name}")))
        return parts


def _required_arguments(node: ast.ClassDef) -> str | None:
    """Return the arguments that a class cannot be made without; None where there are none."""
    made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if made is None:
        return None
    needed = [a.arg for a in made.args.args[1 : len(made.args.args) - len(made.args.defaults)]]
    needed += [a.arg for a, d in zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True) if d is None]
    return ", ".join(needed) or None


def _variant(node: ast.ClassDef) -> str | None:
    for statement in node.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="variant")], value=ast.Constant(value=str(value)))
                | ast.AnnAssign(target=ast.Name(id="variant"), value=ast.Constant(value=str(value)))
            ):
                return value
    return None


def _variants(method: ast.AST) -> list[str]:
    for name, call in decorators(method):
        if name == "tool_method" and call is not None:
            given = next((k.value for k in call.keywords if k.arg == "variants"), None)
            if isinstance(given, ast.List | ast.Tuple):
                return [str(e.value) for e in given.elts if isinstance(e, ast.Constant)]
    return []
