"""Writes the OpenAPI document from the declarations that also serve the requests; used by `app`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from dnworker._version import __version__
from dnworker.server.api import Endpoint

_REFERENCE = "#/components/schemas/{name}"
_PUBLIC = ("/api/health", "/api/ready")


class Problem(msgspec.Struct):
    """A refusal: a sentence, one object, or a list with one entry for each wrong field."""

    detail: str | dict[str, Any] | list[dict[str, Any]]


class Failure(msgspec.Struct, kw_only=True):
    """A refusal of the file and shell endpoints."""

    error: str


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the endpoints, as JSON can hold it."""
    declared = list(endpoints)
    types = [*(e.answer for e in declared), *(e.body for e in declared if e.body), Problem, Failure]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    answers = dict(zip(map(id, declared), schemas, strict=False))
    bodies = dict(zip((id(e) for e in declared if e.body), schemas[len(declared) :], strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for one in declared:
        operation = _operation(one, answers[id(one)], bodies.get(id(one)))
        paths.setdefault(one.path, {})[one.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "dnworker runtime", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(one: Endpoint, answer: dict[str, Any], body: dict[str, Any] | None) -> dict[str, Any]:
    statuses = {*one.errors, 403}
    if one.path not in _PUBLIC:
        statuses.add(401)
    if one.body is not None or one.query is not None:
        statuses.add(422)
    if one.body is not None:
        statuses.add(413)
    problem: dict[str, Any] = {"$ref": _REFERENCE.format(name="Problem")}
    if one.path.startswith(("/api/files", "/api/shell")):
        problem = {"anyOf": [problem, {"$ref": _REFERENCE.format(name="Failure")}]}
    operation: dict[str, Any] = {
        "operationId": one.handler.__module__.rpartition(".")[2] + "_" + one.handler.__name__,
        "summary": one.summary,
        "parameters": [*_path_parameters(one.path), *_query_parameters(one)],
        "responses": {
            "200": {"description": one.summary, "content": {one.media: {"schema": answer}}},
            **{str(status): _json("refused", problem) for status in sorted(statuses)},
        },
    }
    if one.path not in _PUBLIC:
        operation["security"] = [{"bearer": []}]
    if body is not None and one.body is not None:
        required = any(f.required for f in msgspec.structs.fields(one.body))
        operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": body}}}
    elif one.raw is not None:
        file = {"type": "string", "format": "binary"}
        operation["requestBody"] = {"required": True, "content": {one.raw: {"schema": file}}}
    return operation


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _query_parameters(one: Endpoint) -> list[dict[str, Any]]:
    if one.query is None:
        return []
    _, components = msgspec.json.schema_components([one.query], ref_template=_REFERENCE)
    declared = next(iter(components.values()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in declared.get("required", ()),
            "schema": {k: v for k, v in schema.items() if k != "default"},
        }
        for name, schema in declared["properties"].items()
    ]
