"""`declared_in`: what handlers in source declare of payloads, read without running it.

Understood are TypedDict, dataclass, msgspec Struct, pydantic models and Enums of the file and of those beside
it, with annotations of the standard library. What is not understood may be anything.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from dnworker.core.declared import REFUSE, DeclaredPayload
from dnworker.core.parsing import parse
from dnworker.flow.reading import event_handlers

DEEPEST, MOST_CLASSES = 20, 200

_PLAIN: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "dict": {"type": "object"},
    "Mapping": {"type": "object"},
    "list": {"type": "array"},
    "tuple": {"type": "array"},
    "set": {"type": "array"},
    "bytes": {"type": "string"},
    "Decimal": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "UUID": {"type": "string", "format": "uuid"},
}
ENVELOPES_IN = ("list", "List", "Sequence", "Iterable", "Collection")
"""Of events that a handler takes together."""

_LISTS = ("list", "List", "set", "frozenset", "Sequence", "Iterable", "Collection", "Set", "FrozenSet")
_MAPS = ("dict", "Dict", "Mapping", "MutableMapping")


def declared_in(tree: ast.Module, beside: Mapping[str, ast.Module] | None = None) -> list[DeclaredPayload]:
    """Return what the event handlers of a file declare of payloads.

    Args:
        tree: its source, parsed.
        beside: the files beside it by module name.
    """
    classes, names = _classes(tree, beside or {}), _envelope_names(tree)
    found = []
    for kind, function in event_handlers(tree, beside):
        arguments = [*function.args.posonlyargs, *function.args.args]
        written = _payload_of(arguments[0].annotation, names) if arguments else None
        if written is None:
            continue
        shown, refuses = _without_metadata(written)
        schema = _Schemas(classes).of_payload(shown)
        note = "" if schema is not None else f"{ast.unparse(shown)} is not understood without running it"
        found.append(
            DeclaredPayload(
                kind=kind,
                handler=function.name,
                type=ast.unparse(shown)[:120],
                schema=schema,
                note=note,
                refuses=refuses,
            )
        )
    return found


def _envelope_names(tree: ast.Module) -> set[str]:
    """Return the names that the envelope has in a file: an import may give it another one."""
    aliases = [alias for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    return {"EventEnvelope", *(one.asname for one in aliases if one.name == "EventEnvelope" and one.asname)}


def _payload_of(annotation: ast.expr | None, names: Collection[str]) -> ast.expr | None:
    """Return what stands in the brackets of `EventEnvelope[...]`, also where the annotation is text.

    It may be in a list, as handlers below `@batch` take one, and None may be its alternative.
    """
    match _parsed(annotation):
        case ast.Subscript(value=base, slice=inner) if _name(base) in names:
            return _parsed(inner)
        case ast.Subscript(value=base, slice=ast.Tuple(elts=[first, *_])) if _name(base) == "Annotated":
            return _payload_of(first, names)
        case ast.Subscript(value=base, slice=inner) if _name(base) in (*ENVELOPES_IN, "Optional"):
            return _payload_of(inner, names)
        case ast.BinOp(left=one, op=ast.BitOr(), right=ast.Constant(value=None)):
            return _payload_of(one, names)
        case ast.BinOp(left=ast.Constant(value=None), op=ast.BitOr(), right=one):
            return _payload_of(one, names)
    return None


def _parsed(written: ast.expr | None) -> ast.expr | None:
    if isinstance(written, ast.Constant) and isinstance(written.value, str):
        try:
            return parse(written.value, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return written


def _without_metadata(written: ast.expr) -> tuple[ast.expr, bool]:
    match written:
        case ast.Subscript(value=base, slice=ast.Tuple(elts=[first, *more])) if _name(base) == "Annotated":
            return first, any(isinstance(one, ast.Constant) and one.value == REFUSE for one in more)
    return written, False


def _name(node: ast.expr | None) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return _name(inner)
    return ""


def _classes(tree: ast.Module, beside: Mapping[str, ast.Module]) -> dict[str, ast.ClassDef]:
    """Return the classes that a file names: its own, and those that it imports from files beside it."""
    found: dict[str, ast.ClassDef] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = beside.get((node.module or "").rpartition(".")[2])
            names = {alias.name: alias.asname or alias.name for alias in node.names}
            for one in module.body if module is not None else ():
                if isinstance(one, ast.ClassDef):  # also those that the imported ones are made of
                    found.setdefault(names.get(one.name, one.name), one)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
    return found


class _Schemas:
    """Makes JSON Schema of annotations in source."""

    def __init__(self, classes: Mapping[str, ast.ClassDef]) -> None:
        self._classes = classes
        self._definitions: dict[str, dict[str, Any]] = {}

    def of_payload(self, written: ast.expr) -> dict[str, Any] | None:
        """Return the schema of a payload; None where the type is not understood, or is no object."""
        schema = self._of(written, 0)
        if "$ref" not in schema and schema.get("type") != "object":
            return None
        if "$ref" in schema and self._definitions[schema["$ref"].rpartition("/")[2]].get("type") != "object":
            return None
        return {**schema, **({"$defs": self._definitions} if self._definitions else {})}

    def _of(self, written: ast.expr | None, depth: int) -> dict[str, Any]:
        written = _parsed(written)
        if written is None or depth > DEEPEST:
            return {}
        match written:
            case ast.Constant(value=None):
                return {"type": "null"}
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return _union([self._of(left, depth + 1), self._of(right, depth + 1)])
            case ast.Subscript(value=base, slice=inner):
                return self._of_subscript(_name(base), inner, depth)
            case ast.Name() | ast.Attribute():
                name = _name(written)
                return dict(_PLAIN[name]) if name in _PLAIN else self._of_class(name, depth)
        return {}

    def _of_subscript(self, name: str, inner: ast.expr, depth: int) -> dict[str, Any]:
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if not parts:
            return {}
        if name in _LISTS:
            return {"type": "array", "items": self._of(parts[0], depth + 1)}
        if name in _MAPS:
            return {"type": "object", "additionalProperties": self._of(parts[-1], depth + 1)}
        if name in ("tuple", "Tuple"):
            return {"type": "array"}
        if name in ("Optional", "Union"):
            members = [self._of(part, depth + 1) for part in parts]
            return _union([*members, *([{"type": "null"}] if name == "Optional" else [])])
        if name == "Literal":
            return {"enum": [part.value for part in parts if isinstance(part, ast.Constant)]}
        if name in ("Annotated", "NotRequired", "Required", "ReadOnly", "Final"):
            return self._of(parts[0], depth + 1)
        return self._of_class(name, depth)

    def _of_class(self, name: str, depth: int) -> dict[str, Any]:
        node = self._classes.get(name)
        if node is None or depth > DEEPEST:
            return {}
        if name not in self._definitions:
            if len(self._definitions) >= MOST_CLASSES:
                return {}
            self._definitions[name] = {}  # it may name itself
            self._definitions[name] |= self._of_body(node, depth)
        return {"$ref": f"#/$defs/{name}"}

    def _of_body(self, node: ast.ClassDef, depth: int) -> dict[str, Any]:
        bases = [_name(base) for base in node.bases]
        if any(base.endswith("Enum") for base in bases):
            values = [one.value.value for one in node.body if _is_member(one)]  # type: ignore[attr-defined]
            return {"enum": values}
        properties: dict[str, Any] = {}
        required: dict[str, None] = {}
        for base in bases:
            if base in self._classes and base != node.name and depth < DEEPEST:
                above = self._of_body(self._classes[base], depth + 1)
                properties |= above.get("properties", {})
                required |= dict.fromkeys(above.get("required", ()))
        is_total = not any(
            one.arg == "total" and isinstance(one.value, ast.Constant) and one.value.value is False
            for one in node.keywords
        )
        for name, annotation, has_default in _fields(node):
            properties[name] = self._of(annotation, depth + 1)
            marked = _name(annotation) if isinstance(annotation, ast.Subscript) else ""
            if marked == "Required" or (is_total and not has_default and marked != "NotRequired"):
                required[name] = None
        text = (ast.get_docstring(node) or "").partition("\n")[0]
        return {
            "title": node.name,
            "type": "object",
            "properties": properties,
            "required": [*required],
            **({"description": text} if text else {}),
        }


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, bool]]:
    for one in node.body:
        if not isinstance(one, ast.AnnAssign) or not isinstance(one.target, ast.Name):
            continue
        if _name(one.annotation) != "ClassVar" and not one.target.id.startswith("_"):
            yield one.target.id, one.annotation, one.value is not None


def _is_member(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)


def _union(members: list[dict[str, Any]]) -> dict[str, Any]:
    flat: list[dict[str, Any]] = []
    for member in members:
        flat += member["anyOf"] if set(member) == {"anyOf"} else [member]
    return {} if {} in flat else {"anyOf": flat}
