"""Reads from source, without running it, what handlers listen to and publish; for maps before anything ran.

`client.publish("orders.taken")` is read, also with a constant, an f-string or a choice of two; what varies
in it is `*`. A handler publishes what the functions of its file do that it names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dnworker.core.handlers import DECORATORS

DEEPEST_CHAIN = 5
"""How often a constant may refer to another."""

LONGEST_KIND = 200
MOST_PER_HANDLER = 200


class Handled(NamedTuple):
    """One handler in source: its decorator, kind or schedule, name, and the kinds that it publishes."""

    decorator: str
    trigger: str
    name: str
    publishes: tuple[str, ...]
    worker: str = ""
    """The name of the Worker that it is registered at, where the file says it."""


def handlers_in(tree: ast.Module, beside: Mapping[str, ast.Module] | None = None) -> list[Handled]:
    """Return the handlers of a file.

    Args:
        tree: its source, parsed.
        beside: the files beside it by module name, for constants and functions that it imports from them.
    """
    scope = _Scope(tree, beside or {})
    found = []
    for function, decorator, call in _registered(tree):
        owner = decorator.value.id if isinstance(decorator.value, ast.Name) else ""
        for trigger in _triggers(decorator.attr, call, scope):
            kinds = tuple(sorted(scope.published(function)))
            found.append(Handled(decorator.attr, trigger, function.name, kinds, scope.workers.get(owner, "")))
    return found


def published_by(
    tree: ast.Module, line: int, beside: Mapping[str, ast.Module] | None = None
) -> frozenset[str]:
    """Return what the function publishes that begins in a line, with its decorators; nothing if none does."""
    scope = _Scope(tree, beside or {})
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first == line or node.lineno == line:
                return frozenset(scope.published(node))
    return frozenset()


def event_handlers(
    tree: ast.Module, beside: Mapping[str, ast.Module] | None = None
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the event handlers of a file, each with a kind that it listens to."""
    scope = _Scope(tree, beside or {})
    for function, decorator, call in _registered(tree):
        if decorator.attr == "on_event":
            for kind in _triggers("on_event", call, scope):
                yield kind, function


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _registered(tree: ast.Module) -> Iterator[tuple[Function, ast.Attribute, ast.Call | None]]:
    """Yield every function that is registered, with the attribute of the worker and its call."""
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, Function)}
    for node in ast.walk(tree):
        if isinstance(node, Function):
            for one in node.decorator_list:
                call = one if isinstance(one, ast.Call) else None
                attribute = call.func if call is not None else one
                if isinstance(attribute, ast.Attribute) and attribute.attr in DECORATORS:
                    yield node, attribute, call
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Call | ast.Attribute) and node.args:
            inner = node.func if isinstance(node.func, ast.Call) else None  # worker.on_event("kind")(handler)
            attribute = inner.func if inner is not None else node.func
            named = node.args[0]
            if not isinstance(attribute, ast.Attribute) or attribute.attr not in DECORATORS:
                continue
            takes_none = attribute.attr not in ("on_event", "every")
            if isinstance(named, ast.Name) and named.id in functions and (inner is not None or takes_none):
                yield functions[named.id], attribute, inner


def _triggers(decorator: str, call: ast.Call | None, scope: _Scope) -> Iterable[str]:
    if decorator == "on_event" and call is not None:
        given = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "kind"), None)
        return sorted(scope.texts(given)) if given is not None else []
    if decorator == "every" and call is not None:
        return [_schedule(call)]
    return [""]


def _schedule(call: ast.Call) -> str:
    """Return the label of a schedule, as `ScheduleSpec.label`, as far as it is written there."""
    given = {k.arg or "": k.value for k in call.keywords}
    if call.args:
        given.setdefault("seconds", call.args[0])
    for name, value in given.items():
        if (text := _written(value)) is None:
            continue
        if name == "cron":
            return f"cron {text}"[:LONGEST_KIND]
        if name in ("seconds", "minutes"):
            try:
                return f"{float(text) * (60 if name == 'minutes' else 1):g}s"
            except ValueError:
                return f"{text} {'s' if name == 'seconds' else 'min'}"[:LONGEST_KIND]
    return "a schedule"


def _written(value: ast.expr) -> str | None:
    """Return an expression as text; None for one that is nested too deep, or too long a number."""
    try:
        return str(value.value) if isinstance(value, ast.Constant) else ast.unparse(value)
    except (RecursionError, ValueError):
        return None


def _called(call: ast.Call) -> str:
    """Return the name of what is called, with the one before it: `dn.Worker`."""
    match call.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name, value=ast.Name(id=before)):
            return f"{before}.{name}"
        case ast.Attribute(attr=name):
            return name
    return ""


class _Scope:
    """What the names of a file mean: constants, functions and workers."""

    def __init__(self, tree: ast.Module, beside: Mapping[str, ast.Module]) -> None:
        self.constants: dict[str, ast.expr] = {}
        self.functions: dict[str, list[Function]] = {}
        self.workers: dict[str, str] = {}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                module = beside.get((node.module or "").rpartition(".")[2])
                if module is not None:
                    self._take(module, {alias.name: alias.asname or alias.name for alias in node.names})
        self._take(tree, None)

    def _take(self, tree: ast.Module, names: Mapping[str, str] | None) -> None:
        """Take definitions; of a file that is imported from, constants of these names and all functions."""
        for node in ast.walk(tree):
            if isinstance(node, Function):
                name = (names or {}).get(node.name, node.name)
                self.functions.setdefault(name, []).append(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name) and (names is None or target.id in names or "*" in names):
                        name = (names or {}).get(target.id, target.id)
                        self.constants[name] = node.value
                        self._note_worker(name, node.value)

    def _note_worker(self, name: str, value: ast.expr) -> None:
        if isinstance(value, ast.Call) and "Worker" in _called(value):
            given = [*value.args[:1], *(k.value for k in value.keywords if k.arg == "name")]
            if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
                self.workers[name] = given[0].value

    def published(self, function: Function) -> set[str]:
        """Return the kinds that a function publishes, and those that it names."""
        kinds: set[str] = set()
        seen: set[int] = set()
        waiting = [function]
        while waiting and len(kinds) < MOST_PER_HANDLER:
            current = waiting.pop()
            if id(current) in seen:
                continue
            seen.add(id(current))
            for node in _body_of(current):
                if isinstance(node, ast.Call) and _is_publish(node):
                    kinds |= {kind for kind in self._published_by(node) if kind.strip("*")}
                name = (
                    node.id
                    if isinstance(node, ast.Name)
                    else node.attr
                    if isinstance(node, ast.Attribute)
                    else ""
                )
                waiting += self.functions.get(name, ())
        return kinds

    def _published_by(self, call: ast.Call) -> set[str]:
        given = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "kind"), None)
        return set() if given is None or isinstance(given, ast.Starred) else self.texts(given)

    def texts(self, value: ast.expr, depth: int = 0) -> set[str]:
        """Return the texts that an expression may have; `*` stands for what is not known."""
        if depth > DEEPEST_CHAIN:
            return {"*"}
        match value:
            case ast.Constant(value=str(text)):
                return {text[:LONGEST_KIND]}
            case ast.Name(id=name) if name in self.constants:
                return self.texts(self.constants[name], depth + 1)
            case ast.JoinedStr(values=parts):
                return _joined([self.texts(part, depth + 1) for part in parts])
            case ast.FormattedValue(value=inner, format_spec=None):
                return self.texts(inner, depth + 1)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _joined([self.texts(left, depth + 1), self.texts(right, depth + 1)])
            case ast.IfExp(body=one, orelse=other):
                return self.texts(one, depth + 1) | self.texts(other, depth + 1)
            case ast.NamedExpr(value=inner):
                return self.texts(inner, depth + 1)
        return {"*"}


def _joined(parts: Iterable[set[str]]) -> set[str]:
    found = {""}
    for texts in parts:
        found = {(one + other)[:LONGEST_KIND] for one in found for other in sorted(texts)}
        if len(found) > 20:
            return {"*"}
    texts = set()
    for text in found:
        while "**" in text:
            text = text.replace("**", "*")
        texts.add(text)
    return texts


def _is_publish(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "publish"


def _body_of(function: Function) -> Iterator[ast.AST]:
    for statement in function.body:
        yield from ast.walk(statement)
