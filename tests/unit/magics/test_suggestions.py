"""Kinds and payloads that are worth firing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnworker.capability.manifest import parse_manifest
from dnworker.core.handlers import HandlerKey
from dnworker.core.samples import sample
from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.magics.suggestions import NotebookSuggestions


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as runtime:
        worker = Worker("bridge")

        @worker.on_event("demo.heard")
        async def on_heard(event, client): ...

        await runtime.add(worker)
        yield runtime


@pytest.fixture
def suggestions(runtime):
    return NotebookSuggestions(runtime, LiveWorkers())


async def test_kinds_are_those_heard_fired_and_known(suggestions, runtime):
    await runtime.fire("demo.fired", {"n": 1})
    assert {"demo.heard", "demo.fired", "turn.completed"} <= set(suggestions.kinds_known())
    assert suggestions.kinds_heard() == {"demo.heard"}


async def test_a_kind_of_the_runtime_gets_a_realistic_payload(suggestions):
    payload, source = await suggestions.suggest("turn.completed")
    assert payload.keys() == sample("turn.completed").keys()
    assert source == "a template"


async def test_another_kind_gets_what_was_fired_last(suggestions, runtime):
    await runtime.fire("demo.fired", {"n": 1})
    trace = await runtime.fire("demo.fired", {"n": 2})
    assert await suggestions.suggest("demo.fired") == ({"n": 2}, f"as of #{trace.event.seq}")
    assert await suggestions.suggest("demo.never") == ({}, "")
    assert suggestions.fields("demo.fired") == ["n"]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("demo.herd", "no handler in this notebook listens to demo.herd; did you mean demo.heard?"),
        ("demo.heard", "no handler ran for demo.heard; see %worker"),
    ],
)
def test_why_no_handler_ran(suggestions, kind, why):
    assert suggestions.why_unheard(kind) == why


async def test_a_listener_that_does_not_run_is_named(suggestions, runtime):
    await runtime.worker("bridge").stop()
    assert suggestions.why_unheard("demo.heard") == (
        "no handler ran for demo.heard: bridge is stopped; %worker restart bridge"
    )


class Cells(LiveWorkers):
    """Cells whose worker `gated`, behind the flag `relay`, listens to `demo.gated`."""

    def kinds(self):
        return {"demo.gated"}

    def get(self, name):
        key = HandlerKey("on_event", "demo.gated", "on_gated")
        handlers = [(SimpleNamespace(key=key), None)] if name == "gated" else []
        return SimpleNamespace(handlers=lambda: handlers)


async def declare(runtime, flag, *, default=False):
    flags = {flag: {"description": "d", "default": default}}
    text = json.dumps({"name": "demo", "version": "0.1.0", "description": "d", "flags": flags})
    await runtime.declare(parse_manifest(text, Path("/"), is_head=True))


async def test_a_listener_that_is_gated_off_names_the_flag_that_lets_it_run(runtime):
    await declare(runtime, "relay")
    await runtime.add(Worker("gated"), when=["relay"])
    assert NotebookSuggestions(runtime, Cells()).why_unheard("demo.gated") == (
        "no handler ran for demo.gated: gated is gated_off; %capability flag relay on"
    )


async def test_a_listener_whose_flag_is_gone_is_told_so_and_not_to_restart(runtime):
    await declare(runtime, "relay", default=True)
    await runtime.add(Worker("gated"), when=["relay"])
    await declare(runtime, "other")
    assert NotebookSuggestions(runtime, Cells()).why_unheard("demo.gated") == (
        "no handler ran for demo.gated: gated is in state error; worker 'gated': when names undeclared flag "
        "relay; declared: other [CAP-FLAG-012]"
    )
