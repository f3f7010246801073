"""`dnworker events --asyncapi`: of capabilities on disk, of a running runtime, and what is refused."""

from __future__ import annotations

import asyncio
import json

import pytest

from dnworker import Runtime
from dnworker.cli.main import main
from tests.unit.capabilities import make_capability
from tests.unit.catalogue.test_asyncapi import OFFICIAL

WORKER = """
from typing import TypedDict
from dnworker import EventEnvelope, Worker

worker = Worker("billing")

class Placed(TypedDict):
    amount: float

@worker.on_event("order.placed")
async def on_placed(event: EventEnvelope[Placed], client):
    await client.publish("order.billed", {"total": event.payload["amount"]})
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return make_capability(tmp_path / "shop", "billing: {path: billing.py}", {"billing.py": WORKER})


def test_a_capability_on_disk_becomes_a_document_without_being_run(shop, capsys):
    (shop / "billing.py").write_text(WORKER + "\nraise SystemExit('never run')\n")
    assert main(["events", "--asyncapi", "--of", str(shop)]) == 0
    made = json.loads(capsys.readouterr().out)
    OFFICIAL.validate(made)
    assert made["channels"].keys() == {"order.placed", "order.billed"}
    assert made["components"]["schemas"]["order.placed.Placed"]["required"] == ["amount"]
    assert "servers" not in made


def test_kinds_may_be_named_and_a_wrong_one_names_the_nearest(shop, capsys):
    assert main(["events", "order.b*", "--of", str(shop), "--asyncapi"]) == 0
    assert json.loads(capsys.readouterr().out)["channels"].keys() == {"order.billed"}
    assert main(["events", "order.biled", "--of", str(shop), "--asyncapi"]) == 1
    assert "there is no kind 'order.biled'; did you mean order.billed? (DN227)" in capsys.readouterr().err


def test_of_without_asyncapi_is_refused_in_one_line(shop, capsys):
    assert main(["events", "--of", str(shop)]) == 1
    assert "--of names what --asyncapi writes; add --asyncapi (DN229)" in capsys.readouterr().err


async def test_a_running_runtime_is_asked_page_by_page(shop, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret")
    async with Runtime(port=0, token="s3cret") as runtime:
        await runtime.load(shop)
        for number in range(70):
            await runtime.fire(f"many.{number:02}", {"n": number}, wait=False)
        line = ["events", "--asyncapi", "events.json", "--url", runtime.url, "--token-file", str(token)]
        assert await asyncio.to_thread(main, line) == 0
        made = json.loads((tmp_path / "events.json").read_text())
        OFFICIAL.validate(made)
        assert {f"many.{number:02}" for number in range(70)} < made["channels"].keys()
        assert made["operations"]["demo.billing-receive-order.placed"]["action"] == "receive"
        assert made["servers"]["runtime"]["host"] in runtime.url
        assert "s3cret" not in json.dumps(made)
