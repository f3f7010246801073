"""What the views Capability and Sessions and the palette look at."""

from __future__ import annotations

import msgspec
import pytest

from dnworker import Worker
from dnworker.capability.manifest import parse_manifest
from dnworker.panel import session_parts
from dnworker.sessions.turn import TurnRequest

SHIP = """
schema: 1
name: ship
version: 0.1.0
description: a ship
license: MIT
author: {name: Ada, email: ada@example.org}
flags:
  sails: {description: "use the wind", default: true}
  motor: {description: "use fuel"}
workers:
  crew: {path: crew.py, when: [sails, motor]}
  stoker: {path: stoker.py, when: [motor]}
  rigger: {path: rigger.py, when: [sails]}
  cook: {path: cook.py}
"""


@pytest.fixture
async def ship(runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    root = tmp_path / "ship"
    root.mkdir()
    (root / "capability.yaml").write_text(SHIP)
    for name in ("crew", "stoker", "rigger", "cook"):
        (root / f"{name}.py").write_text("from dnworker import Worker\nworker = Worker()\n")
    return await runtime.load(root)


async def test_a_flag_says_which_workers_its_other_value_starts_and_stops(ship, screen):
    async def flags(wanted):
        found = (await screen.part("capabilities", lambda part: wanted(part["all"][0])))["all"][0]
        return {flag["name"]: (flag["starts"], flag["stops"]) for flag in found["flags"]}

    screen.say("hello", looks={"capabilities": {}})
    assert await flags(lambda one: one["name"] == "ship") == {
        "sails": ([], ["crew", "rigger"]),
        "motor": (["stoker"], []),
    }
    screen.say("flag", id=1, capability="ship", flag="motor", value=True)
    # Both are on: crew runs whatever becomes of one of them.
    assert await flags(lambda one: one["flags"][1]["value"]) == {
        "sails": ([], ["rigger"]),
        "motor": ([], ["stoker"]),
    }
    screen.say("flag", id=2, capability="ship", flag="sails", value=False)
    assert (await flags(lambda one: not one["flags"][0]["value"]))["motor"] == ([], ["crew", "stoker"])


async def test_the_manifest_of_a_capability_is_shown(ship, screen):
    told = await screen.open(looks={"capabilities": {}})
    assert told["capabilities"]["all"][0]["facts"] == [
        ["Author", "Ada <ada@example.org>"],
        ["Licence", "MIT"],
        ["Workers", "crew, stoker, rigger, cook"],
    ]
    assert told["capabilities"]["more"] == 0


async def test_the_palette_offers_kinds_handlers_runs_flags_and_sessions(runtime, bridge, ship, screen):
    runtime.sessions.create("s1").title = "paint it"
    trace = await runtime.fire("demo.ping", {"bad": True})
    await runtime.fire("demo.ping", {"n": 1})
    part = (await screen.open(looks={"palette": {"query": "PING"}}))["palette"]
    assert "demo.ping" in part["kinds"]
    assert part["handlers"][0] == ["notebook:bridge", "on_ping"]
    assert part["count"] == 2
    assert [(seq, kind, outcome) for _, seq, kind, _, outcome in part["runs"]][-1] == (
        trace.event.seq,
        "demo.ping",
        "error",
    )
    assert {kind for _, _, kind, _, _ in part["runs"]} == {"demo.ping"}  # demo.pong is of a run
    assert part["sessions"] == [["s1", "paint it", 0]]
    assert ["ship", "motor", False, None, ["stoker"], []] in part["flags"]
    assert part["cells"] == []


async def test_what_fails_now_is_offered_with_its_line(runtime, bridge, screen):
    trace = await runtime.fire("demo.ping", {"bad": True})
    part = (await screen.open(looks={"palette": {}}))["palette"]
    ((worker, handler, place, event),) = part["failing"]
    assert (worker, handler, event) == ("notebook:bridge", "on_ping", trace.event.event_id)
    assert "line" in place


async def test_no_bound_hides_what_is_searched_for(runtime, screen):
    worker = Worker("many")
    for n in range(1_200):

        async def handle(event, client):
            pass

        handle.__name__ = f"handler_{n}"
        worker.on_event(f"kind.number_{n:04}")(handle)
    await runtime.add(worker)
    part = (await screen.open(looks={"palette": {"query": "number_1199"}}))["palette"]
    assert part["kinds"][0] == "kind.number_1199"
    assert len(part["kinds"]) == 500
    assert len(msgspec.json.encode(part)) < 60_000
    screen.say("look", part="palette", wanted={"query": "handler_1199"})
    assert (await screen.part("palette"))["handlers"][0] == ["notebook:many", "handler_1199"]


async def test_a_session_is_shown_with_its_newest_messages_and_how_many_came_before(
    runtime, screen, monkeypatch
):
    monkeypatch.setattr(session_parts, "MESSAGES_SHOWN", 2)

    async def reply(turn):
        return "x" * 3_000

    runtime.agents.default(reply)
    session = runtime.sessions.create("s1")
    for n in range(2):
        runtime.turns.start(session, TurnRequest(message=f"m{n}"))
        await runtime.settle(5)
    part = (await screen.open(looks={"session": {"session": "s1"}}))["session"]["detail"]
    assert part["earlier"] == 2
    assert [(one["role"], len(one["content"]), one["cut"]) for one in part["history"]] == [
        ("user", 2, 0),
        ("assistant", 2_000, 1_000),
    ]
    gone = await screen.open(looks={"session": {"session": "nosuch"}})
    assert gone["session"] == {"id": "nosuch", "detail": None}


async def test_a_capability_of_notebook_cells_has_its_flags_too(runtime, bridge, screen, tmp_path):
    text = "name: mine\nversion: 0.1.0\ndescription: d\nflags: {relay: {description: f}}\n"
    await runtime.declare(parse_manifest(text, tmp_path, is_head=True))
    part = (await screen.open(looks={"capabilities": {}}))["capabilities"]
    assert [(flag["name"], flag["gates"], flag["starts"]) for flag in part["all"][0]["flags"]] == [
        ("relay", [], [])
    ]
