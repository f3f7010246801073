"""`OutputSchema`: the form that an agent's answer has, as JSON; `Agents` checks answers by it.

It is a `TypedDict`, a dataclass, a msgspec `Struct` or a pydantic model, or a JSON Schema as a dict.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from dnworker.core.errors import Invalid
from dnworker.core.text import clip

LARGEST = 1_000_000
"""Bytes of a file with a schema."""

LONGEST_WHY = 300


class Misfit(ValueError):
    """An answer does not have the form; the text names the field, and what is wrong with it."""


class OutputSchema(msgspec.Struct, frozen=True):
    """The form of an answer.

    Attributes:
        name: of the type, such as `Order`.
        schema: as JSON Schema.
        validate: called with the answer's bytes; raises `ValueError`, and names the field.
        encode: makes the bytes of what a script returns.
    """

    name: str
    schema: dict[str, Any]
    validate: Callable[[bytes], object]
    encode: Callable[[Any], bytes]

    @classmethod
    def of(cls, form: Any, name: str = "") -> Self:
        """Return the form that a type or a JSON Schema describes.

        Args:
            form: a type, a JSON Schema, or the path of a file with one.
            name: of a JSON Schema without `title`.

        Raises:
            Invalid: it describes none, or the file cannot be read.
        """
        if isinstance(form, cls):
            return form
        if isinstance(form, Path):
            form, name = _read(form), name or form.stem
        if isinstance(form, Mapping):
            return cls(*_of_schema(dict(form), name))
        named = getattr(form, "__name__", name or "output")
        if isinstance(form, type) and hasattr(form, "model_json_schema"):
            made, model = form.model_json_schema(), form
            return cls(named, made, lambda data: _by_pydantic(model, data), _encode)
        try:
            made = msgspec.json.schema(form)
            decoder = msgspec.json.Decoder(form)
        except (TypeError, RuntimeError) as exc:
            raise Invalid(
                f"{clip(named, 60)} describes no output: {clip(' '.join(str(exc).split()), 200)}; {FORMS}",
                code="DN973",
            ) from exc
        if _object(made).get("type") != "object":
            raise Invalid(f"{clip(named, 60)} describes no object; {FORMS}", code="DN973")
        return cls(named, _object(made), decoder.decode, _encode)

    def check(self, text: str) -> Any:
        """Return the answer as JSON value.

        Raises:
            Misfit: it does not have the form.
        """
        data = text.strip().encode("utf-8", "surrogatepass")
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise Misfit(f"it is no JSON: {exc}") from None
        try:
            self.validate(data)
        except Misfit:
            raise
        except ValueError as exc:
            raise Misfit(clip(" ".join(str(exc).split()), LONGEST_WHY)) from None
        return value

    def text_of(self, value: Any) -> str:
        """Return what a script returns as the text of the answer.

        Raises:
            Misfit: it cannot be JSON.
        """
        try:
            return value if isinstance(value, str) else self.encode(value).decode()
        except (TypeError, ValueError) as exc:
            raise Misfit(f"{type(value).__name__} cannot be JSON: {clip(str(exc), LONGEST_WHY)}") from None


FORMS = "give a TypedDict, a dataclass, a msgspec Struct, a pydantic model, or a JSON Schema of an object"


def _encode(value: Any) -> bytes:
    dump = getattr(value, "model_dump_json", None)
    return str(dump()).encode() if callable(dump) else msgspec.json.encode(value)


def _read(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        return json.loads(data)
    except OSError as exc:
        raise Invalid(
            f"the output's schema {file} cannot be read: {exc.strerror or exc}", code="DN973"
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise Invalid(f"{file} is no JSON Schema: {clip(str(exc), 200)}", code="DN973") from exc


def _object(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose outermost part is not a reference: providers want an object there."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    defs = schema.get("$defs", {})
    return {**defs[name], "$defs": defs} if name in defs else schema


def _of_schema(
    schema: dict[str, Any], name: str
) -> tuple[str, dict[str, Any], Callable[[bytes], object], Any]:
    """Return what a JSON Schema describes; references lead nowhere outside of it.

    Raises:
        Invalid: it is none, or not of an object, or the library that checks by it is missing.
    """
    try:
        import jsonschema_rs
    except ImportError:
        raise Invalid(
            "an output by JSON Schema needs a library: pip install 'dnworker[schemas]'; or give a dataclass",
            code="DN973",
        ) from None
    title = str(schema.get("title") or name or "output")
    try:
        validator = jsonschema_rs.validator_for(schema, retriever=_refuse)
    except ValueError as exc:
        why = clip(str(exc).partition("\n")[0], 200)
        raise Invalid(f"{clip(title, 60)} is no JSON Schema: {why}", code="DN973") from exc
    if _object(schema).get("type") != "object":
        raise Invalid(f"{clip(title, 60)} describes no object; {FORMS}", code="DN973")

    def validate(data: bytes) -> None:
        for error in validator.iter_errors(json.loads(data)):
            raise Misfit(clip(f"{error.message} - at `${_path(error.instance_path)}`", LONGEST_WHY))

    return title, schema, validate, _encode


def _by_pydantic(model: Any, data: bytes) -> object:
    """Raise `Misfit` with the first error of a pydantic model, in one line."""
    try:
        return model.model_validate_json(data)
    except ValueError as exc:
        errors = getattr(exc, "errors", None)
        if not callable(errors):
            raise
        first = errors()[0]
        raise Misfit(clip(f"{first['msg']} - at `${_path(first['loc'])}`", LONGEST_WHY)) from None


def _path(steps: Iterable[str | int]) -> str:
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in steps)


def _refuse(address: str) -> Any:
    """Fetch nothing: a schema may name any address."""
    raise LookupError(f"{address} is not in it")
