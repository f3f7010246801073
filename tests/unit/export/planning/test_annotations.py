"""`EventEnvelope[OrderPlaced]` in cells: text in a script for the reference, as it stands in one of ours."""

from __future__ import annotations

import ast
import sys
import types

import pytest

from dnworker.catalogue.written import declared_in
from dnworker_jupyter.export.planning.annotations import as_text
from dnworker_jupyter.export.slicing.problems import NotExportable
from tests.unit.export.builders import plan, script

PLACED = """from typing import TypedDict

class OrderPlaced(TypedDict):
    amount: float
"""
BILLING = """%%worker bridge
from dnworker import EventEnvelope

@worker.on_event("order.placed")
async def on_placed(event: EventEnvelope[OrderPlaced], client) -> None:
    await client.publish("order.billed", {})
"""


def test_a_script_for_the_reference_has_the_annotation_as_text_and_the_type():
    text = script(PLACED, BILLING)
    assert 'event: "EventEnvelope[OrderPlaced]", client) -> None:' in text
    assert "class OrderPlaced(TypedDict):" in text
    (declared,) = declared_in(ast.parse(text))
    assert declared.schema["$defs"]["OrderPlaced"]["properties"] == {"amount": {"type": "number"}}


def test_a_script_of_ours_has_the_annotation_as_it_stands():
    assert "event: EventEnvelope[OrderPlaced], client)" in script(PLACED, BILLING, target="dnworker")


def test_a_module_that_workers_share_has_it_as_text_too():
    shared = "from dnworker import EventEnvelope\nasync def note(event: EventEnvelope[dict]) -> None:\n    print(event)"
    cells = [
        f'%%worker {name}\n@worker.on_event("x")\nasync def on_x(event, client):\n    await note(event)'
        for name in ("a", "b")
    ]
    files = plan(shared, *cells).files
    (module,) = [text.decode() for name, text in files.items() if name.endswith("_shared.py")]
    assert 'event: "EventEnvelope[dict]"' in module


def test_the_script_runs_where_the_envelope_is_none(monkeypatch):
    class Worker:
        def __init__(self, name):
            self.kinds = []

        def on_event(self, kind):
            self.kinds.append(kind)
            return lambda handler: handler

    reference = types.ModuleType("dreadnode.capabilities.worker")
    reference.Worker, reference.EventEnvelope, reference.RuntimeClient = Worker, None, None
    for name in ("dreadnode", "dreadnode.capabilities"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "dreadnode.capabilities.worker", reference)
    names: dict = {"__name__": "billing"}
    exec(compile(script(PLACED, BILLING), "billing.py", "exec", dont_inherit=True), names)
    assert names["worker"].kinds == ["order.placed"]


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("def f(a: EventEnvelope[X]): ...", 'def f(a: "EventEnvelope[X]"): ...'),
        ("def f(a: EventEnvelope[X] | None): ...", 'def f(a: "EventEnvelope[X] | None"): ...'),
        ("def f(ä: EventEnvelope['Größe']): ...", "def f(ä: \"EventEnvelope['Größe']\"): ..."),
        ("def f(a: 'EventEnvelope[X]'): ...", "def f(a: 'EventEnvelope[X]'): ..."),
        ("def f(a: EventEnvelope[\n    X\n], b): ...", 'def f(a: "EventEnvelope[X]", b): ...'),
        ("def f(a: EventEnvelope, b: int) -> x[1]: ...", "def f(a: EventEnvelope, b: int) -> x[1]: ..."),
        ("def f() -> list[EventEnvelope[X]]: ...", 'def f() -> "list[EventEnvelope[X]]": ...'),
        ("x: EventEnvelope[X] = 1", 'x: "EventEnvelope[X]" = 1'),
        ("def f(\x0ca: EventEnvelope[X]): ...", 'def f(\x0ca: "EventEnvelope[X]"): ...'),
        ("EventEnvelope[X](", "EventEnvelope[X]("),
    ],
)
def test_annotations_become_text_and_nothing_else_changes(source, made):
    assert as_text(source) == made


def test_elsewhere_than_in_an_annotation_it_is_a_problem_with_its_line():
    with pytest.raises(NotExportable) as refused:
        plan(
            PLACED,
            "from dnworker import EventEnvelope\nPlaced = EventEnvelope[OrderPlaced]",
            BILLING.replace("EventEnvelope[OrderPlaced]", "Placed"),
        )
    assert "cell [2], line 2: EventEnvelope[OrderPlaced]: the reference's EventEnvelope takes no type" in str(
        refused.value
    )


def test_an_envelope_under_another_name_is_text_too():
    renamed = BILLING.replace("import EventEnvelope", "import EventEnvelope as Event").replace(
        "EventEnvelope[", "Event["
    )
    assert 'event: "Event[OrderPlaced]", client)' in script(PLACED, renamed)
    assert "event: Event[OrderPlaced], client)" in script(PLACED, renamed, target="dnworker")
