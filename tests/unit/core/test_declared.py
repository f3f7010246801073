"""What annotations of handlers declare of payloads: `EventEnvelope[OrderPlaced]`."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from dnworker import EventEnvelope
from dnworker.core.declared import (
    LONGEST_SCHEMA,
    check_of_type,
    declared_by,
    describe_declared,
    schema_of_type,
)
from dnworker.core.envelope import decode, encode
from dnworker.testing import make_envelope

T = TypeVar("T")


class Placed(TypedDict):
    amount: float
    note: NotRequired[str]


@dataclass
class PlacedData:
    amount: float
    note: str = ""


class PlacedStruct(msgspec.Struct):
    amount: float
    note: str = ""


class PlacedModel(pydantic.BaseModel):
    amount: float
    note: str = ""


class Tree(TypedDict):
    name: str
    below: list[Tree]


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


class Broken(pydantic.BaseModel):
    @classmethod
    def __get_pydantic_json_schema__(cls, *_: Any) -> Any:
        raise RuntimeError("no schema today")


FORMS = [Placed, PlacedData, PlacedStruct, PlacedModel]


def handler_of(annotation: Any) -> Any:
    async def on_placed(event, client):
        """Handle."""

    on_placed.__annotations__ = {"event": annotation}
    return on_placed


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_type_gives_a_schema(form):
    declared = declared_by(handler_of(EventEnvelope[form]))
    described = describe_declared("order.placed", "on_placed", declared)
    assert (described.type, described.note) == (form.__name__, "")
    assert '"amount"' in msgspec.json.encode(described.schema).decode()


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_type_checks_payloads_and_names_the_field(form):
    check = check_of_type(form)
    assert check({"amount": 1}) is None
    assert check({"amount": 1, "note": "x"}) is None
    assert check({"amount": "much"}).startswith("amount: ")
    assert "amount" in check({})


@pytest.mark.parametrize(
    "annotation",
    [
        EventEnvelope,
        "EventEnvelope",
        dict[str, int],
        "dict[str, int]",
        "Nothing[x",
        None,
        3,
        list,
        "NoName[1]",
    ],
)
def test_other_annotations_declare_nothing(annotation):
    assert declared_by(handler_of(annotation)) is None


@pytest.mark.parametrize("function", [print, len, object(), lambda: 0, type, Placed])
def test_what_is_no_handler_declares_nothing(function):
    assert declared_by(function) is None


def test_an_annotation_as_text_is_understood():
    assert declared_by(handler_of("EventEnvelope[Placed]")).type is Placed
    assert declared_by(handler_of(EventEnvelope["Placed"])).type is Placed


def test_a_name_that_is_defined_later_is_found_then_and_is_a_note_before():
    handler = handler_of("EventEnvelope[Later]")
    before = declared_by(handler)
    assert before.type is None
    assert "name 'Later' is not defined" in before.note
    handler.__globals__["Later"] = Placed
    try:
        assert declared_by(handler).type is Placed
    finally:
        del handler.__globals__["Later"]


def test_an_alias_is_understood():
    handler = handler_of("Alias")
    handler.__globals__["Alias"] = EventEnvelope[Placed]
    try:
        assert declared_by(handler).type is Placed
    finally:
        del handler.__globals__["Alias"]


def test_a_type_of_the_function_around_a_handler_is_found():
    class Local(TypedDict):
        amount: float

    async def on_placed(event: EventEnvelope[Local], client) -> None:
        assert Local

    assert declared_by(on_placed).type is Local


def test_recursive_and_generic_types_have_schemas():
    assert schema_of_type(Tree)[0]["$defs"]["Tree"]["properties"]["below"]["type"] == "array"
    schema, note = schema_of_type(Page[int])
    assert (note, schema["$defs"]["Page_int_"]["properties"]["items"]["items"]) == ("", {"type": "integer"})


@pytest.mark.parametrize("form", [int, list[int], str | None, set[Placed]])
def test_what_is_no_object_is_a_note(form):
    schema, note = schema_of_type(form)
    assert schema is None
    assert note


def test_a_model_whose_schema_raises_is_a_note():
    schema, note = schema_of_type(Broken)
    assert schema is None
    assert "RuntimeError: no schema today" in note


def test_a_type_that_nobody_can_describe_is_a_note_and_has_no_check():
    class Odd:
        pass

    schema, note = schema_of_type(dict[str, Odd])
    assert schema is None
    assert "Odd" in note
    assert check_of_type(dict[str, Odd]) is None


def test_a_schema_that_is_too_large_is_a_note():
    fields = [
        (f"field_{number}", Annotated[int, msgspec.Meta(description="x" * 100)]) for number in range(999)
    ]
    schema, note = schema_of_type(msgspec.defstruct("Huge", fields))
    assert schema is None
    assert f"{LONGEST_SCHEMA:,}" in note


def test_a_dataclass_with_a_model_inside_is_described_by_pydantic():
    @dataclass
    class Around:
        inner: PlacedModel

    schema, note = schema_of_type(Around)
    assert note == ""
    assert "PlacedModel" in schema["$defs"]
    assert check_of_type(Around)({"inner": {"amount": "x"}}).startswith("inner.amount: ")


def test_without_pydantic_nothing_of_it_is_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    monkeypatch.delitem(sys.modules, "pydantic")
    assert schema_of_type(Placed)[1] == ""
    assert check_of_type(Placed)({"amount": 1}) is None
    assert "pydantic" not in sys.modules


def test_a_handler_may_refuse_what_breaks_its_type():
    declared = declared_by(handler_of(EventEnvelope[Annotated[Placed, "refuse"]]))
    assert declared.refuses
    assert declared.name == "Placed"
    assert not declared_by(handler_of(EventEnvelope[Annotated[Placed, "other"]])).refuses


def test_secrets_of_a_payload_are_not_shown_where_it_breaks_its_type():
    class Login(pydantic.BaseModel):
        password: int

    text = check_of_type(Login)({"password": "hunter2"})
    assert "hunter2" not in text
    assert "***" in text


def test_subscripting_leaves_the_envelope_as_it_was():
    event = make_envelope("order.placed", {"amount": 1})
    assert EventEnvelope[Placed].__origin__ is EventEnvelope
    assert decode(encode(event)) == event
    assert pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(msgspec.ValidationError, match=r"Expected `object`, got `int` - at `\$.payload`"):
        msgspec.json.decode(b'{"seq": 1, "kind": "x", "payload": 3}', type=EventEnvelope)


@pytest.mark.parametrize(
    "annotation",
    [
        EventEnvelope[Placed] | None,
        list[EventEnvelope[Placed]],
        Sequence[EventEnvelope[Placed]],
        "list[EventEnvelope[Placed]]",
        Annotated[list[EventEnvelope[Placed]], "of a day"],
    ],
)
def test_an_envelope_in_a_list_or_with_none_as_its_alternative_declares(annotation):
    assert declared_by(handler_of(annotation)).type is Placed


@pytest.mark.parametrize(
    "annotation", [list[Placed], EventEnvelope[Placed] | str, dict[str, EventEnvelope[Placed]]]
)
def test_an_envelope_among_others_declares_nothing(annotation):
    assert declared_by(handler_of(annotation)) is None


def test_refuse_counts_also_around_the_envelope():
    assert declared_by(handler_of(Annotated[EventEnvelope[Placed], "refuse"])).refuses


def test_keys_that_json_has_as_text_are_checked_as_what_they_are_declared():
    check = check_of_type(TypedDict("Counts", {"by_year": dict[int, int]}))
    assert check({"by_year": {"2026": 1}}) is None
    assert check({"by_year": {"x": 1}}).startswith("key in .by_year: expected int")
