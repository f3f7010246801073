"""Schemas of recorded payloads, what schemas say, and where they disagree."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

import jsonschema
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dnworker.catalogue.examples import MOST_VALUES, example_of
from dnworker.catalogue.inference import infer
from dnworker.catalogue.schemas import disagreements, fields_of, optional_in
from tests.unit.catalogue.test_drift import JSON


class Item(TypedDict):
    price: float


class Placed(TypedDict, total=False):
    amount: float
    state: Literal["new", "paid"]
    items: list[Item]
    below: Placed


class Other(TypedDict):
    amount: str


def test_the_fields_of_a_schema_have_paths_and_types():
    fields = fields_of(msgspec.json.schema(Placed))
    assert fields["items", "[]", "price"].types == {"number"}
    assert fields["items", "[]", "price"].is_required
    assert fields["state",].types == {"string"}
    assert ("amount",) in optional_in(msgspec.json.schema(Placed))


def test_a_recursive_schema_ends():
    assert ("below", "below", "amount") in fields_of(msgspec.json.schema(Placed))


def test_a_schema_that_refers_to_itself_or_to_nothing_ends():
    assert fields_of({"$ref": "#"}) == {}
    assert fields_of({"$ref": "#/$defs/none"}) == {}
    assert (
        fields_of({"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}]}}})["a",].types == frozenset()
    )


def test_two_that_declare_other_types_of_a_field_disagree():
    schemas = [("a:b.on_x", msgspec.json.schema(Placed)), ("c:d.on_y", msgspec.json.schema(Other))]
    assert disagreements(schemas) == ["`amount` is a number for a:b.on_x and text for c:d.on_y"]
    assert disagreements([schemas[0], schemas[0]]) == []


def test_payloads_with_very_many_keys_or_levels_have_a_small_schema_and_a_note():
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(2_000):
        inner["x"] = inner = {}
    inferred = infer([{f"k{n}": n for n in range(100_000)}, deep])
    assert len(msgspec.json.encode(inferred.schema)) < 5_000
    assert "keys" in inferred.note or "levels" in inferred.note


@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=4), min_size=1, max_size=8))
def test_every_payload_meets_the_schema_that_is_made_of_it(payloads):
    payloads = msgspec.json.decode(msgspec.json.encode(payloads))  # as recorded: no NaN
    inferred = infer(payloads)
    for payload in payloads:
        jsonschema.validate(payload, inferred.schema)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_a_small_payload_without_secrets_is_its_own_example(payload):
    example = example_of(payload)
    assert example.keys() == payload.keys()


def test_an_example_is_short_and_hides_secrets():
    payload = {"api_key": "abc", "list": [*range(1_000)], "text": "x" * 10_000, "in": {"password": "p"}}
    example = example_of(payload | {f"k{n}": {"a": [1] * 9} for n in range(1_000)})
    assert example["api_key"] == "***"
    assert example["in"] == {"password": "***"}
    assert len(msgspec.json.encode(example)) < 100 * MOST_VALUES
