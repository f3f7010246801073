"""What views ask for, done."""

from __future__ import annotations

from typing import get_args

from dnworker import Worker
from dnworker.panel import messages
from dnworker.panel.operations import OPERATIONS
from dnworker.sessions.turn import TurnRequest

from .screen import GATED


async def test_a_worker_is_stopped_started_and_restarted(runtime, bridge, screen):
    await screen.open()
    for verb, state in (("stop", "stopped"), ("start", "running"), ("restart", "running")):
        answer = await screen.ask("control", verb=verb, worker="notebook:bridge")
        assert (answer["type"], answer["state"]) == ("done", state)
    assert bridge.restarts == 2


async def test_a_schedule_is_run_at_once(runtime, bridge, screen):
    told = await screen.open("log", looks={"worker": {"worker": "notebook:bridge"}})
    (schedule,) = [h for h in told["worker"]["handlers"] if h["key"][0] == "every"]
    assert schedule["nextRun"] > told["now"]
    assert (await screen.ask("run", worker="notebook:bridge", key=schedule["key"]))["type"] == "done"
    assert (await screen.part("log"))["lines"][-1]["text"] == "ticked"
    failed = await screen.ask("run", worker="notebook:bridge", key=["every", "5m", "gone"])
    assert "has no handler ['gone'] any more" in failed["text"]


async def test_what_failed_is_found_and_fired_again(runtime, bridge, screen):
    await runtime.fire("demo.ping", {"bad": True}, session_id="s1")
    told = await screen.open(looks={"worker": {"worker": "notebook:bridge"}})
    (handler,) = [h for h in told["worker"]["handlers"] if h["errors"]]
    error = handler["error"]
    assert error["text"] == "ValueError: bad ping"
    assert error["source"] == 'raise ValueError("bad ping")'
    assert "conftest.py, line" in error["location"]
    assert '"bad": true' in (await screen.ask("eventpayload", event=error["event"]))["payload"]
    again = runtime.history.event((await screen.ask("replay", event=error["event"]))["event"])
    assert (again.kind, again.payload, again.session_id) == ("demo.ping", {"bad": True}, "s1")


async def test_an_event_is_copied_as_a_cell_and_as_a_test(runtime, bridge, screen):
    trace = await runtime.fire("demo.ping", {"n": 1})
    await screen.open()
    fire = await screen.ask("copy", event=trace.event.event_id, form="fire")
    assert fire["text"] == "%fire demo.ping n=1"
    test = await screen.ask("copy", event=trace.event.event_id, form="test")
    assert test["file"] == f"test_bridge_{trace.event.seq}.py"
    compile(test["text"], "test", "exec")
    lonely = await runtime.fire("demo.nobody", {})
    failed = await screen.ask("copy", event=lonely.event.event_id, form="test")
    assert "no handler ran" in failed["text"]


async def test_a_flag_opens_its_gate_and_checks_are_run(runtime, screen, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    root = tmp_path / "gated"
    root.mkdir()
    (root / "capability.yaml").write_text(GATED)
    (root / "w.py").write_text("from dnworker import Worker\nworker = Worker(name='w')\n")
    await runtime.load(root)
    told = await screen.open(looks={"capabilities": {}})
    (gated,) = told["capabilities"]["all"]
    assert [(c["name"], c["status"]) for c in gated["checks"]] == [("fine", "ok"), ("broken", "error")]
    assert gated["flags"][0]["gates"] == ["w"]
    (worker,) = told["workers"]["changed"]
    assert (worker["state"], worker["gate"], worker["disabled"]["start"]) == (
        "gated_off",
        {"beta": False},
        "gated off; turn on beta",
    )
    assert (await screen.ask("flag", capability="gated", flag="beta", value=True))["type"] == "done"
    assert runtime.worker("gated:w").state == "running"
    assert (await screen.ask("checks", capability="gated"))["type"] == "done"


async def test_a_server_of_mcp_says_why_it_is_not_connected_and_is_connected_again(runtime, screen, tmp_path):
    root = tmp_path / "demo"
    root.mkdir()
    head = "schema: 1\nname: demo\nversion: 1.0.0\ndescription: d\nflags: {beta: {description: d}}\n"
    servers = "{one: {command: nosuch}, odd: {}, gated: {url: x, when: [beta]}}"
    (root / "capability.yaml").write_text(f"{head}mcp: {{servers: {servers}}}\n")
    await runtime.load(root)
    await runtime.mcp.reconnect("demo", "one")
    told = await screen.open(looks={"capabilities": {}})
    assert (await screen.ask("reconnect", capability="demo", server="one"))["status"] == "error"
    one, odd, gated = told["capabilities"]["all"][0]["servers"]
    assert (one["status"], one["transport"], one["toolCount"], one["whyNot"]) == ("error", "stdio", 0, None)
    assert one["error"].startswith("mcp server 'one': the command 'nosuch' is not there")
    assert odd["whyNot"] == "Its entry in the manifest is wrong"
    assert (gated["status"], gated["whyNot"]) == ("gated_off", "Requires flag: beta")
    refused = await screen.ask("reconnect", capability="demo", server="gated")
    assert "turn on one of: beta" in str(refused)


async def test_a_question_of_a_session_is_shown_and_answered(runtime, screen):
    async def reply(turn):
        return f"you like {await turn.ask('which?', ['red', 'blue'])}"

    runtime.agents.default(reply)
    session = runtime.sessions.create("s1")
    told = await screen.open(looks={"session": {"session": "s1"}})
    assert told["session"]["detail"]["openPrompts"] == []

    runtime.turns.start(session, TurnRequest(message="paint it"))
    asked = (await screen.part("session", lambda part: part["detail"]["openPrompts"]))["detail"]
    assert asked["phase"] == "awaiting_input"
    (prompt,) = asked["openPrompts"]
    assert [option["label"] for option in prompt["questions"][0]["options"]] == ["red", "blue"]
    request = prompt["request_id"]
    answer = await screen.ask(
        "respond", session="s1", request=request, answers=[{"selected_labels": ["blue"]}]
    )
    assert answer["type"] == "done"
    done = (
        await screen.part(
            "session", lambda part: part["detail"]["phase"] == "idle" and part["detail"]["turns"]
        )
    )["detail"]
    assert done["history"][-1]["content"] == "you like blue"
    late = await screen.ask("respond", session="s1", request=request, answers=[{"selected_labels": ["red"]}])
    assert late["type"] == "failed"
    assert "was answered already" in late["text"]


async def test_leave_to_call_a_tool_is_asked_for_and_given(runtime, screen):

    async def reply(turn):
        return await turn.call_tool("disk__wipe", {"path": "/tmp/x"}, result="wiped")

    runtime.agents.default(reply)
    session = runtime.sessions.create("s1", policy="guard")
    await screen.open(looks={"session": {"session": "s1"}})
    runtime.turns.start(session, TurnRequest(message="wipe it"))
    asked = (await screen.part("session", lambda part: part["detail"]["openPrompts"]))["detail"]
    (prompt,) = asked["openPrompts"]
    assert asked["phase"] == "awaiting_permission"
    assert prompt["tool_approval"]["arguments"] == {"path": "/tmp/x"}
    answer = await screen.ask("respond", session="s1", request=prompt["request_id"], decision="allow")
    assert answer["type"] == "done"
    done = (
        await screen.part(
            "session", lambda part: part["detail"]["phase"] == "idle" and part["detail"]["turns"]
        )
    )["detail"]
    assert done["history"][-1]["content"] == "wiped"


async def test_a_waiting_turn_is_cancelled(runtime, screen):

    async def reply(turn):
        await turn.ask("go on?")

    runtime.agents.default(reply)
    session = runtime.sessions.create("s1")
    await screen.open(looks={"session": {"session": "s1"}})
    runtime.turns.start(session, TurnRequest(message="one"))
    second = runtime.turns.start(session, TurnRequest(message="two"))
    detail = (await screen.part("session", lambda part: len(part["detail"]["underWay"]) == 2))["detail"]
    assert [(turn["message"], turn["active"]) for turn in detail["underWay"]] == [
        ("one", True),
        ("two", False),
    ]
    assert (await screen.ask("cancel", session="s1", turn=second.id))["type"] == "done"
    await screen.part("session", lambda part: len(part["detail"]["underWay"]) == 1)


def test_each_request_has_an_operation():
    requests = {one for one in get_args(messages.Message) if issubclass(one, messages.Request)}
    assert OPERATIONS.keys() == requests


async def test_an_event_storm_is_shown_at_its_worker_and_what_is_held_is_delivered(runtime, screen):
    worker, handled = Worker("w"), []

    @worker.on_event("demo.again")
    async def again(event, client):
        handled.append(event.seq)
        await client.publish("demo.again")

    runtime.storms.mode, runtime.storms.limit = "hold", 30
    await runtime.add(worker)
    await screen.open()
    await runtime.fire("demo.again")
    before = len(handled)
    part = await screen.part("workers", lambda sent: any(one.get("storm") for one in sent["changed"]))
    (shown,) = [one["storm"] for one in part["changed"] if one.get("storm")]
    assert "has caused 31 events within 10 s that repeat demo.again -> demo.again" in shown["text"]
    assert shown["held"] == 1
    await screen.ask("control", verb="resume", worker="notebook:w")
    await runtime.settle()
    assert len(handled) > before


async def test_a_handler_is_removed_only_where_cells_registered_it(runtime, bridge, screen):
    told = await screen.open(looks={"worker": {"worker": "notebook:bridge"}})
    handler = told["worker"]["handlers"][0]
    assert (handler["origin"], handler["stale"]) == (None, None)
    answer = await screen.ask("remove", worker="notebook:bridge", key=handler["key"])
    assert (answer["type"], answer["text"]) == ("failed", "only a notebook can do this (DN917)")
