"""What handlers in source declare, read without running it, is what they declare when they run."""

from __future__ import annotations

import ast
import sys
import textwrap
import types

import msgspec
import pytest

from dnworker import Worker
from dnworker.capability.manifest import load_manifest
from dnworker.catalogue.on_disk import entries_on_disk
from dnworker.catalogue.schemas import fields_of
from dnworker.catalogue.written import declared_in
from dnworker.workers.declarations import declared_payloads

SOURCE = """
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict
import datetime
import msgspec
from dnworker import EventEnvelope, Worker

worker = Worker("billing")

class State(Enum):
    NEW = "new"
    PAID = "paid"

class Item(TypedDict):
    price: float
    note: NotRequired[str]

@dataclass
class Base:
    shop: str

@dataclass
class Placed(Base):
    amount: float
    items: list[Item]
    by: Optional[str] = None
    state: State = State.NEW
    at: datetime.datetime | None = None
    tags: dict[str, int] = field(default_factory=dict)
    form: Literal["a", "b"] = "a"

class Tree(msgspec.Struct):
    name: str
    below: "list[Tree]" = []

@worker.on_event("order.placed")
async def on_placed(event: EventEnvelope[Placed], client):
    await client.publish("order.billed", {"x": event.payload["amount"]})

@worker.on_event("tree.grown")
async def on_tree(event: "EventEnvelope[Annotated[Tree, 'refuse']]", client): ...

@worker.on_event("plain")
async def on_plain(event: EventEnvelope, client):
    print(event.payload["size"])
"""


def test_what_is_read_names_the_fields_that_running_it_would(monkeypatch):
    module = types.ModuleType("billing_of_this_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(SOURCE, "billing.py", "exec", dont_inherit=True), module.__dict__)
    worker: Worker = module.worker
    running = {one.kind: one for one in declared_payloads(worker)}
    read = {one.kind: one for one in declared_in(ast.parse(SOURCE))}
    assert read.keys() == running.keys() == {"order.placed", "tree.grown"}
    for kind, one in read.items():
        assert one.handler == running[kind].handler
        assert one.refuses == running[kind].refuses
        mine, theirs = fields_of(one.schema), fields_of(running[kind].schema)
        for path in theirs.keys() - {("state",)}:
            assert mine[path].is_required == theirs[path].is_required, path
            assert mine[path].types == theirs[path].types, path


@pytest.mark.parametrize(
    "annotation",
    ["Nothing", "int", "list[int]", "'('", "EventEnvelope[", "1 + 1", "set[str]"],
)
def test_what_is_not_understood_is_no_schema_and_no_error(annotation):
    source = f"@worker.on_event('x')\nasync def f(event: EventEnvelope[{annotation}], client): ...\n"
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    assert all(one.schema is None and one.note for one in declared_in(tree))


def test_classes_that_name_each_other_or_themselves_end():
    source = textwrap.dedent("""
        class A(B): x: "A"
        class B(A): y: "B"
        @worker.on_event("x")
        async def f(event: EventEnvelope[A], client): ...
    """)
    (one,) = declared_in(ast.parse(source))
    assert len(msgspec.json.encode(one.schema)) < 10_000


def test_a_capability_on_disk_has_its_kinds_with_schemas(tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "billing.py").write_text(SOURCE + "\nraise SystemExit('never run')\n")
    (tmp_path / "capability.yaml").write_text(
        "schema: 1\nname: shop\nversion: 1.0.0\ndescription: Shop\nworkers:\n"
        "  billing: {path: workers/billing.py}\n"
    )
    entries = {one.kind: one for one in entries_on_disk([load_manifest(tmp_path)])}
    assert entries.keys() == {"order.placed", "order.billed", "tree.grown", "plain"}
    assert entries["order.placed"].schema_source == "declared"
    assert entries["order.billed"].publishers == ["shop:billing"]
    assert entries["plain"].schema_source == "reads"
    assert "size" in entries["plain"].reads


@pytest.mark.parametrize(
    "annotation",
    [
        "Event[OrderPlaced]",
        "'Event[OrderPlaced] | None'",
        "Optional[Event[OrderPlaced]]",
        "'list[Event[OrderPlaced]]'",
        "None | Event[OrderPlaced]",
    ],
)
def test_the_envelope_has_another_name_stands_in_a_list_or_may_be_none(annotation):
    source = f"""
from dnworker import EventEnvelope as Event, Worker
worker = Worker(name="billing")
class OrderPlaced(TypedDict):
    amount: float
@worker.on_event("order.placed")
async def on_placed(event: {annotation}, client): ...
"""
    (declared,) = declared_in(ast.parse(source))
    assert declared.type == "OrderPlaced"
    assert declared.schema is not None
