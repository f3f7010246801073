"""`declared_by`: what a handler declares of its event's payload, `event: EventEnvelope[OrderPlaced]`.

Workers check events by it, also in processes of their own, and the catalogue of events shows its JSON Schema.
Annotations are the user's, and what they name may not exist: that is a note, never an error.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.masking import MASK, is_secret
from dnworker.core.text import shorten

REFUSE = "refuse"
"""As in `EventEnvelope[Annotated[OrderPlaced, "refuse"]]`: an event that breaks the type is not handled."""

DEEPEST = 5
"""How far within other annotations that of the envelope may be."""

_ENVELOPES_IN = (list, Sequence, Iterable, Collection)

LONGEST_SCHEMA = 60_000
"""Bytes of a type's JSON Schema; of a larger one only the name is kept."""

LONGEST_NAME = 120
LONGEST_NOTE = 300
LONGEST_VALUE = 60

Check = Callable[[dict[str, Any]], str | None]
"""Takes a payload; returns what breaks the type, with the field's path, or None."""


class Declared(NamedTuple):
    """What a handler declares: a type, or why it is not known."""

    name: str
    type: Any = None
    note: str = ""
    refuses: bool = False


class DeclaredPayload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one handler declares of the payload of a kind, as it goes from a process to the runtime."""

    kind: str
    handler: str
    type: str
    """The name of the type."""
    schema: dict[str, Any] | None = None
    note: str = ""
    """Why there is no schema."""
    refuses: bool = False


def declared_by(function: Any) -> Declared | None:
    """Return what the annotation of a handler's first parameter declares; None where it declares nothing."""
    try:
        function = inspect.unwrap(function)
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        annotation = _annotations(function).get(names[0]) if names else None
    except Exception:  # a callable of another sort: it has no annotations that we know
        return None
    for _ in range(2):  # text of text, where `from __future__ import annotations` stands above it
        if not isinstance(annotation, str):
            break
        if _is_plain(annotation):
            return None
        written = annotation
        try:
            annotation = _evaluated(annotation, function)
        except Exception as exc:
            # Not of ours, as far as the text says: whose annotation it is says nothing to the catalogue.
            return _unresolved(written, exc) if "EventEnvelope[" in written else None
    return _of_annotation(annotation, function)


def may_declare(function: Any) -> bool:
    """Return whether a handler's first annotation looks like a declaration; runs no code of the user."""
    try:
        code = inspect.unwrap(function).__code__
        names = code.co_varnames[: code.co_argcount]
        annotation = _annotations(inspect.unwrap(function)).get(names[0]) if names else None
    except Exception:
        return False
    return not _is_plain(annotation) if isinstance(annotation, str) else _subscripted(annotation) is not None


def _annotations(function: Any) -> dict[str, Any]:
    """Return the annotations of a function; as text where one of them names what there is not (yet)."""
    try:
        found = function.__annotations__
    except NameError:  # evaluated as they are asked for, from Python 3.14 on
        annotationlib = importlib.import_module("annotationlib")
        found = annotationlib.get_annotations(function, format=annotationlib.Format.STRING)
    return found if isinstance(found, dict) else {}


def _is_plain(annotation: str) -> bool:
    """Return whether an annotation that is text says no more than that there is an event."""
    return annotation.rpartition(".")[2] == "EventEnvelope"


def _subscripted(annotation: Any) -> Any:
    """Return an annotation as `EventEnvelope[...]`; None where it is another.

    It may be in a list, as handlers below `@batch` take one, and None may be its alternative.
    """
    for _ in range(DEEPEST):
        origin, args = get_origin(annotation), get_args(annotation)
        if isinstance(origin, type) and issubclass(origin, EventEnvelope):
            return annotation
        others = [one for one in args if one is not type(None)]
        if origin is Annotated or (
            len(others) == 1 and (origin in (Union, UnionType) or origin in _ENVELOPES_IN)
        ):
            annotation = others[0]
        else:
            return None
    return None


def _of_annotation(annotation: Any, function: Any) -> Declared | None:
    outer = annotation
    if (annotation := _subscripted(annotation)) is None:
        return None
    (declared, *more) = get_args(annotation)
    if more:
        return Declared(
            _name(annotation), note=f"an event has one payload, and {_name(annotation)} names more"
        )
    written = declared if isinstance(declared, str) else getattr(declared, "__forward_arg__", None)
    if isinstance(written, str):
        try:
            declared = _evaluated(written, function)
        except Exception as exc:
            return _unresolved(written, exc)
    refuses = any(get_origin(one) is Annotated and REFUSE in one.__metadata__ for one in (outer, declared))
    shown = declared.__origin__ if get_origin(declared) is Annotated else declared
    return Declared(_name(shown), declared, refuses=refuses)


def _evaluated(written: str, function: Any) -> Any:
    """Return what an annotation that is text stands for, where the handler is."""
    closure = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    names: dict[str, Any] = {}
    for name, cell in closure:
        try:
            names[name] = cell.cell_contents
        except ValueError:  # it has no value yet
            continue
    return eval(written, function.__globals__, names)  # noqa: S307  as typing.get_type_hints does


def _unresolved(written: str, exc: Exception) -> Declared:
    name = shorten(written, LONGEST_NAME)
    note = shorten(f"{name} is not known: {_said(exc)}", LONGEST_NOTE)
    refuses = any(f"{quote}{REFUSE}{quote}" in written for quote in "'\"")
    return Declared(name, note=note, refuses=refuses)


def _name(declared: Any) -> str:
    found = declared.__name__ if isinstance(declared, type) and not get_args(declared) else repr(declared)
    return shorten(str(found).replace("__main__.", ""), LONGEST_NAME)


def _said(exc: BaseException) -> str:
    try:
        text = str(exc)
    except Exception:  # somebody else's __str__
        text = ""
    return f"{type(exc).__name__}: {' '.join(text.split())}" if text else type(exc).__name__


# -- JSON Schema ---------------------------------------------------------------------------------------


def describe_declared(kind: str, handler: str, declared: Declared) -> DeclaredPayload:
    """Return what a handler declares with its JSON Schema, or with a note why there is none."""
    schema, note = (None, declared.note) if declared.note else schema_of_type(declared.type)
    return DeclaredPayload(
        kind=kind, handler=handler, type=declared.name, schema=schema, note=note, refuses=declared.refuses
    )


def schema_of_type(declared: Any) -> tuple[dict[str, Any] | None, str]:
    """Return the JSON Schema of a type, or None and why there is none. The type's own code may run."""
    name = _name(declared)
    try:
        schema = _made_schema(declared)
        size = len(msgspec.json.encode(schema))
    except Exception as exc:
        return None, shorten(f"{name} has no JSON Schema: {_said(exc)}", LONGEST_NOTE)
    if size > LONGEST_SCHEMA:
        return (
            None,
            f"the JSON Schema of {name} takes {size:,} bytes, and at most {LONGEST_SCHEMA:,} are kept",
        )
    if not _may_be_object(schema, schema):
        return None, f"{name} is no object, and every payload is one"
    return schema, ""


def _may_be_object(schema: Any, root: Mapping[str, Any], depth: int = 0) -> bool:
    top = resolved(schema, root)
    members = top.get("anyOf") or top.get("oneOf") or ()
    if members and depth < 5:
        return any(_may_be_object(one, root, depth + 1) for one in members)
    types = top.get("type", "object")
    return "object" in (types if isinstance(types, list) else [types])


def resolved(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a `$ref` within a schema leads to; the schema itself where it has none, or a wrong one."""
    for _ in range(20):
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        found: Any = root
        for part in reference[2:].split("/"):
            step = part.replace("~1", "/").replace("~0", "~")
            found = found.get(step) if isinstance(found, dict) else None
        schema = found
    return {}


def _made_schema(declared: Any) -> dict[str, Any]:
    pydantic: Any = sys.modules.get("pydantic")  # only where the user has imported it
    if pydantic is not None and isinstance(declared, type) and issubclass(declared, pydantic.BaseModel):
        return dict(declared.model_json_schema())  # type: ignore[attr-defined]
    try:
        return msgspec.json.schema(declared)
    except (TypeError, NameError):
        if pydantic is None or not _has_models(declared, pydantic):
            raise
        return dict(pydantic.TypeAdapter(declared).json_schema())


def _has_models(declared: Any, pydantic: Any) -> bool:
    """Return whether pydantic describes a type that msgspec does not: a part of it is a model."""
    waiting, seen = [declared], 0
    while waiting and seen < 200:
        one, seen = waiting.pop(), seen + 1
        if isinstance(one, type) and issubclass(one, pydantic.BaseModel):
            return True
        waiting += get_args(one)
        if isinstance(one, type):
            with contextlib.suppress(Exception):  # a name that is not known: what asks next says so
                waiting += get_type_hints(one).values()
    return False


# -- checks --------------------------------------------------------------------------------------------


def check_of_type(declared: Any) -> Check | None:
    """Return what checks payloads by a type; None where the type cannot be checked."""
    pydantic = sys.modules.get("pydantic")
    is_model = (
        pydantic is not None and isinstance(declared, type) and issubclass(declared, pydantic.BaseModel)
    )
    if pydantic is not None and (is_model or _has_models(declared, pydantic)):
        return _pydantic_check(declared, pydantic)
    try:
        msgspec.json.schema(declared)
    except Exception:  # of a type that msgspec does not know; the catalogue says so
        return None

    def check(payload: dict[str, Any]) -> str | None:
        try:
            msgspec.convert(payload, declared, str_keys=True)  # JSON has no others
        except msgspec.ValidationError as exc:
            text, _, path = str(exc).partition(" - at ")
            return _broken(path.replace("`", "").replace("$", "").lstrip("."), text)
        except Exception as exc:  # of the type's own code, such as __post_init__
            return _broken("", f"its check raised {_said(exc)}")
        return None

    return check


def _pydantic_check(declared: Any, pydantic: Any) -> Check | None:
    try:
        validate = pydantic.TypeAdapter(declared).validate_json
    except Exception:
        return None

    def check(payload: dict[str, Any]) -> str | None:
        try:
            validate(msgspec.json.encode(payload))  # of a copy: validators may change what they are given
        except pydantic.ValidationError as exc:
            first = exc.errors(include_url=False, include_context=False)[0]
            steps = [str(step) for step in first["loc"]]
            text = first["msg"]
            if first["type"] != "missing":
                text = f"{text}; got {shown_value(first.get('input'), steps)}"
            return _broken(".".join(steps), text)
        except Exception as exc:  # of the type's own code, such as a validator
            return _broken("", f"its check raised {_said(exc)}")
        return None

    return check


def _broken(path: str, text: str) -> str:
    plain = text.replace("`", "")
    return shorten(f"{path or 'the payload'}: {plain[:1].lower()}{plain[1:]}", LONGEST_NOTE)


def shown_value(value: Any, path: list[str]) -> str:
    """Return a value as an error shows it: short, and hidden where a name on its path is that of a secret."""
    if any(is_secret(step) for step in path):
        return MASK
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    try:
        text = msgspec.json.encode(value).decode()
    except Exception:  # it is none of JSON's
        text = type(value).__name__
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
