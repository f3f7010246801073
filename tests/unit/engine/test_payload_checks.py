"""What workers publish is checked by what handlers declare of the kind, where the publisher wants it."""

from __future__ import annotations

import sys
from typing import TypedDict

import httpx
import msgspec
import pytest

from dnworker import EventEnvelope, Runtime, Worker
from dnworker.engine.payload_checks import check_of_schema
from tests.unit.capabilities import make_capability


class Placed(TypedDict):
    amount: float


class Other(TypedDict):
    amount: str


def billing(declared: type = Placed, name: str = "billing") -> Worker:
    worker = Worker(name)

    async def on_placed(event, client) -> None:
        pass

    on_placed.__annotations__["event"] = EventEnvelope[declared]
    worker.on_event("order.placed")(on_placed)
    return worker


@pytest.fixture
async def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with Runtime(port=0, token="s3cret", check_payloads=["notebook:till"]) as runtime:
        yield runtime


def client_of(runtime: Runtime, worker: str = "till"):
    return runtime.client(worker=worker, capability="notebook")


async def test_a_payload_that_breaks_the_declared_type_is_refused_with_its_field(runtime):
    await runtime.add(billing())
    client = client_of(runtime)
    await client.publish("order.placed", {"amount": 2})
    with pytest.raises(httpx.HTTPStatusError) as refused:
        await client.publish("order.placed", {"amount": "2"})
    text = str(refused.value)
    assert "order.placed: amount: expected float, got str; notebook:billing.on_placed declares Placed" in text
    assert "\n" not in text
    assert refused.value.response.status_code == 422
    assert refused.value.response.headers["dnworker-code"] == "DN228"
    assert [event.payload for event in runtime.history.events() if event.kind == "order.placed"] == [
        {"amount": 2}
    ]


async def test_workers_that_did_not_ask_for_it_publish_what_they_like(runtime):
    await runtime.add(billing())
    await client_of(runtime, "other").publish("order.placed", {"amount": "2"})
    await client_of(runtime).publish("order.else", {"amount": "2"})


async def test_a_change_of_the_declared_type_counts_from_the_next_event_on(runtime):
    await runtime.add(billing())
    client = client_of(runtime)
    await client.publish("order.placed", {"amount": 2})
    await runtime.remove("billing")
    await runtime.add(billing(Other))
    with pytest.raises(httpx.HTTPStatusError, match="amount"):
        await client.publish("order.placed", {"amount": 2})
    await client.publish("order.placed", {"amount": "2"})


async def test_where_two_handlers_disagree_a_payload_meets_one_of_them(runtime):
    await runtime.add(billing())
    await runtime.add(billing(Other, "other"))
    client = client_of(runtime)
    await client.publish("order.placed", {"amount": 2})
    await client.publish("order.placed", {"amount": "2"})
    with pytest.raises(httpx.HTTPStatusError):
        await client.publish("order.placed", {"amount": []})


PROCESS = """
from typing import TypedDict
from dnworker import EventEnvelope, Worker

worker = Worker("sub")

class Placed(TypedDict):
    amount: float

@worker.on_event("order.placed")
async def on_placed(event: EventEnvelope[Placed], client):
    pass

@worker.on_event("go")
async def on_go(event, client):
    await client.publish("order.placed", {"amount": event.payload["amount"]})

worker.run()
"""


async def test_a_process_reports_what_it_declares_and_is_checked_over_http(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    manifest = f"sub: {{command: '{sys.executable}', args: [sub.py]}}"
    root = make_capability(tmp_path, workers=manifest, files={"sub.py": PROCESS})
    async with Runtime(port=0, check_payloads=["demo:sub"]) as runtime:
        await runtime.load(root)
        assert (await runtime.fire("go", {"amount": 2})).ok
        (declared,) = runtime.worker("sub").declared
        assert (declared.kind, declared.handler, declared.type) == ("order.placed", "on_placed", "Placed")
        trace = await runtime.fire("go", {"amount": "two"})
        assert "order.placed: amount: expected number, got" in str(trace)
        assert "declares Placed" in str(trace)


def test_a_schema_checks_as_the_type_does_and_hides_secrets():
    class Login(msgspec.Struct):
        password: int
        tries: int = 0

    check = check_of_schema(msgspec.json.schema(Login))
    assert check({"password": 1}) is None
    assert check({"password": "hunter2"}) == "password: expected integer, got ***"
    assert check({}) == "the payload: password is missing"


def test_a_schema_that_is_none_is_said():
    with pytest.raises(ValueError, match="nonsense"):
        check_of_schema({"type": "nonsense"})


def test_a_schema_of_a_process_that_names_another_machine_is_not_followed():
    with pytest.raises(ValueError, match="retrieving it failed"):
        check_of_schema({"properties": {"a": {"$ref": "http://127.0.0.1:9/s.json"}}})
