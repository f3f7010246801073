"""The AsyncAPI document, held against the official JSON Schema of AsyncAPI 3.0.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import jsonschema_rs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker.catalogue.asyncapi import document
from dnworker.catalogue.entries import KindEntry, Listener, Publisher
from dnworker.core.event_kinds import KINDS, schema_of

OFFICIAL = jsonschema_rs.validator_for(
    json.loads((Path(__file__).parents[2] / "data" / "asyncapi" / "3.0.0.json").read_text())
)
WORKERS = {"published_by": [Publisher(name="shop:till")], "heard_by": [Listener(worker="shop:billing")]}


class Placed(msgspec.Struct, tag="placed"):
    amount: Annotated[float, msgspec.Meta(gt=0, description="in euro", examples=[1.5])]
    pair: tuple[int, str]
    state: Literal["new", "paid"] = "new"
    below: Placed | None = None


class Cancelled(msgspec.Struct, tag="cancelled"):
    why: str


class Line(pydantic.BaseModel):
    price: float = pydantic.Field(gt=0, deprecated=True)
    form: Literal["line"] = "line"


class Order(pydantic.BaseModel):
    lines: list[Line]
    extra: dict[str, int | None] = {}


def checked(entries: list[KindEntry], **options: Any) -> dict[str, Any]:
    made = document(entries, title="Events", version="1", **options)
    OFFICIAL.validate(made)
    _check_references(made, made)
    return made


def _check_references(part: Any, whole: dict[str, Any]) -> None:
    if isinstance(part, list):
        for one in part:
            _check_references(one, whole)
    elif isinstance(part, dict):
        if isinstance(reference := part.get("$ref"), str):
            found: Any = whole
            for step in reference.removeprefix("#/").split("/"):
                found = found[step.replace("~1", "/").replace("~0", "~")]
        for word, one in part.items():
            if word not in ("default", "const", "enum", "examples"):  # values, and no schemas
                _check_references(one, whole)


def entry(kind: str, schema: dict[str, Any] | None = None, **more: Any) -> KindEntry:
    return KindEntry(kind=kind, is_runtimes=False, schema=schema, **{**WORKERS, **more})


def test_channels_are_kinds_and_operations_are_of_workers():
    made = checked([entry("order.placed", msgspec.json.schema(Placed))], url="http://127.0.0.1:8787")
    assert made["channels"]["order.placed"]["address"] == "order.placed"
    assert made["operations"]["shop.till-send-order.placed"]["action"] == "send"
    assert made["operations"]["shop.billing-receive-order.placed"]["action"] == "receive"
    assert made["servers"] == {"runtime": {"host": "127.0.0.1:8787", "protocol": "http"}}


@pytest.mark.parametrize(
    "schema",
    [
        msgspec.json.schema(Placed),
        msgspec.json.schema(Placed | Cancelled),
        Order.model_json_schema(),
        {"$ref": "#"},
        {"$ref": "https://example.com/x"},
        {"type": "nonsense", "enum": 3, "minLength": -1, "discriminator": {"propertyName": "x"}, "oneOf": []},
        {"properties": {"a": True, "b": {"items": [{"type": "string"}, False]}}},
        {"patternProperties": {"^x": {"const": {"a": "#/no"}}}, "$defs": {"a b/c~": {"type": "object"}}},
        None,
    ],
)
def test_every_schema_becomes_one_that_the_official_schema_accepts(schema):
    checked([entry("order.placed", schema)])


def test_all_kinds_of_the_runtime_are_accepted():
    made = checked([entry(kind, schema_of(kind), when=KINDS[kind].when) for kind in KINDS])
    assert made["channels"].keys() == KINDS.keys()


@pytest.mark.parametrize(
    "kind", ["with space", "größe", "..", ".", "a/b", "order.{id}", "#/x", "~0", "", "x" * 512]
)
def test_kinds_of_any_characters_are_accepted(kind):
    made = checked([entry(kind), entry("other")])
    assert len(made["channels"]) == 2
    assert next(iter(made["components"]["messages"].values()))["name"] == kind


def test_no_password_of_an_address_stands_in_the_document():
    made = checked([], url="https://me:hunter2@example.com/base")
    assert "hunter2" not in json.dumps(made)


def test_definitions_of_one_name_in_two_kinds_stay_apart():
    class Inner(TypedDict):
        a: int

    first = msgspec.json.schema(Inner)
    second = {"$ref": "#/$defs/Inner", "$defs": {"Inner": {"type": "object", "title": "another"}}}
    made = checked([entry("a", first), entry("b", second)])
    assert made["components"]["schemas"]["a.Inner"] != made["components"]["schemas"]["b.Inner"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "items", "anyOf", "$ref", "$defs", "properties", "enum", "required", "title"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100)
@given(
    st.dictionaries(st.sampled_from(["type", "items", "properties", "$defs", "not", "if"]), JSON, max_size=5)
)
def test_whatever_a_schema_says_the_document_is_accepted(schema):
    checked([entry("order.placed", schema)])
