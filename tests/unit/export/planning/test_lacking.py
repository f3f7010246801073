"""What only our client has: the script completes another one, and the export warns of each use."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import types

import pytest

from dnworker import compat
from dnworker_jupyter.export.planning.lacking import COMPLETION
from tests.unit.export.builders import handler, plan, script

ONCE = 'async with client.once("a") as first:\n        print(first)'
DEDUPE = 'await client.publish("b", {}, dedupe="a")'


@pytest.mark.parametrize("body", [ONCE, DEDUPE])
def test_a_script_for_the_reference_completes_its_client_and_one_of_ours_does_not(body):
    assert COMPLETION in script(handler(body))
    assert "_complete_client" not in script(handler(body), target="dnworker")


def test_a_script_that_uses_neither_is_as_before():
    assert "_complete_client" not in script(handler('await client.publish("b", {"once": 1})'))


def test_a_helper_that_two_workers_share_counts_for_both():
    cells = ["async def mail(client):\n    async with client.once('a'):\n        pass"]
    workers = [f"%%worker {n}\n@worker.task\nasync def t(client):\n    await mail(client)" for n in "ab"]
    files = plan(*cells, *workers).files
    assert all(COMPLETION in files[f"workers/{n}.py"].decode() for n in "ab")


def test_the_export_warns_of_each_use_with_its_line():
    cell = handler(f"{ONCE}\n    {DEDUPE}")
    assert [str(w) for w in plan(cell).warnings] == [
        "cell [1], line 4: client.once(...): the reference's client does not have it: there the body of the same "
        "key runs again, and the log says so once; make the effect such that it may happen again, or export with "
        "--target dnworker",
        "cell [1], line 6: publish(dedupe=...): the reference's client does not have it: there an event of the "
        "same key is published again, and the log says so once; make the effect such that it may happen again, "
        "or export with --target dnworker",
    ]
    assert plan(cell, target="dnworker").warnings == ()


class Theirs:
    """A client as the reference has it."""

    def __init__(self):
        self.published = []

    async def publish(self, kind, payload=None, *, session_id=None):
        self.published.append((kind, payload, session_id))
        return {"event_id": "e", "seq": 1}


def test_a_completed_client_runs_every_body_and_publishes_every_event_and_says_so_once(monkeypatch, caplog):
    class Client(Theirs):
        pass

    module = types.ModuleType("dreadnode.app.client.runtime_client")
    module.RuntimeClient = Client
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    names = {
        "Worker": type("Worker", (), {"__module__": "dreadnode.capabilities.worker"}),
        "__name__": "bridge",
    }
    for _ in range(2):
        exec(COMPLETION, names)
    assert "_complete_client" not in names

    async def use():
        client, firsts = Client(), []
        for _ in range(2):
            async with client.once("a") as first:
                firsts.append(first)
            await client.publish("b", {"n": 1}, session_id="s", dedupe="a")
        return client.published, firsts

    assert asyncio.run(use()) == ([("b", {"n": 1}, "s")] * 2, [True, True])
    assert [(r.levelno, r.getMessage()) for r in caplog.records if r.name == "bridge"] == [
        (logging.WARNING, "this client has no once(...): the body of the same key runs again"),
        (
            logging.WARNING,
            "this client has no publish(dedupe=...): an event of the same key is published again",
        ),
    ]


def test_with_our_client_the_script_changes_nothing():
    before = set(sys.modules)
    compat.install()
    from dnworker import RuntimeClient, Worker

    once, publish = RuntimeClient.once, RuntimeClient.publish
    exec(COMPLETION, {"Worker": Worker, "__name__": "bridge"})
    assert (RuntimeClient.once, RuntimeClient.publish) == (once, publish)
    assert "dreadnode.app.client.runtime_client" not in set(sys.modules) - before


@pytest.mark.parametrize(
    "cells",
    [
        ["%%worker bridge --keep-state\n@worker.task\nasync def t(client): ..."],
        ['bridge = dn.worker("bridge", keep_state=True)\n\n@bridge.task\nasync def t(client): ...'],
    ],
)
def test_the_export_warns_of_a_state_that_is_kept_here(cells):
    (warning,) = plan(*cells).warnings
    assert str(warning) == (
        "cell [1]: --keep-state of worker 'bridge': no manifest says so, and the reference keeps no state: it begins "
        "empty there at every start; with dnworker, start it by: dnworker serve --keep-state CAPABILITY:bridge"
    )
